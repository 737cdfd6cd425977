"""`metaclaw mcp`: the learned skills for any MCP client, over stdin and stdout or over HTTP on loopback."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Annotated

import typer

from metaclaw import __version__
from metaclaw.cli.common import ConfigOption, DataDirOption, load_settings, need, rooms
from metaclaw.config.secret import ensure_token
from metaclaw.config.settings import Settings
from metaclaw.sandbox import Sandbox

DEFAULT_PORT = 8791


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Serve over HTTP on 127.0.0.1, in place of stdin and stdout.")]
    = False,
    port: Annotated[int, typer.Option("--port", help="Port for --http; 0 takes a free one.", min=0, max=65535)]
    = DEFAULT_PORT,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Serve the learned skills over the Model Context Protocol: code skills as tools, all as resources and prompts.

    Example: metaclaw mcp --http
    """
    need("mcp", "metaclaw mcp", "mcp")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s mcp %(levelname)s %(message)s", stream=sys.stderr)
    asyncio.run(_serve(load_settings(config, data_dir), port if http else None))


async def _serve(settings: Settings, port: int | None) -> None:
    from metaclaw.mcp_server.server import SkillServer  # the mcp extra
    from metaclaw.mcp_server.transports import serve_http, serve_stdio

    sandbox = Sandbox(settings.sandbox)
    with rooms(settings) as open_rooms:
        server = SkillServer(open_rooms.catalog, sandbox, __version__)
        try:
            if port is None:
                await serve_stdio(server)
            else:
                token = ensure_token(settings)
                await serve_http(server, token, port, lambda url: typer.echo(f"MCP at {url}", err=True))
        finally:
            await sandbox.close()
