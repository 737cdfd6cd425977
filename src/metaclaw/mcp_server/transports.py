"""How clients reach the MCP server: over stdin and stdout of this process, or over HTTP on loopback.

HTTP stands behind the same door as the gateway: a loopback host name, no foreign web page, and the token. Clients that
can be given nothing but a URL send the token in its path: `/t/TOKEN/mcp`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import uvicorn
from mcp.server.stdio import stdio_server
from starlette.routing import Route

from metaclaw.errors import MetaClawError, RequestError
from metaclaw.gateway.auth import Door
from metaclaw.mcp_server.server import SkillServer

PATH = "/mcp"
HOST = "127.0.0.1"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def serve_stdio(server: SkillServer) -> None:
    """Serve one client until it closes our stdin. Nothing else may be written to stdout meanwhile."""
    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


async def serve_http(server: SkillServer, token: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until cancelled or told to stop by a signal. `ready` is called with the URL once connections are accepted.

    Raises `MetaClawError` where the port is taken.
    """
    app = server.streamable_http_app(streamable_http_path=PATH, host=HOST)
    endpoint = next(route.endpoint for route in app.routes if isinstance(route, Route) and route.path == PATH)
    app.router.routes.append(Route(f"/t/{{token}}{PATH}", endpoint=endpoint))
    with listening(port) as listener:
        web = uvicorn.Server(
            uvicorn.Config(
                behind(Door(token, HOST), app), log_level="warning", lifespan="on", server_header=False,
                timeout_graceful_shutdown=1,  # standing streams end with us
            )
        )
        ready(f"http://{HOST}:{listener.getsockname()[1]}{PATH}")  # from here on the kernel queues connections
        await web.serve([listener])


def listening(port: int) -> socket.socket:
    """A socket on loopback, and nowhere else."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise MetaClawError(f"Cannot listen on {HOST}:{port} ({error.strerror}). Choose another --port.") from error
    return listener


def behind(door: Door, app: App) -> App:
    """The application, for those whom the door lets in."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            target = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
            try:
                door.check(target, headers)
            except RequestError as error:
                await _refuse(send, error)
                return
        await app(scope, receive, send)

    return guarded


async def _refuse(send: Send, error: RequestError) -> None:
    body = json.dumps({"error": {"code": error.code, "message": str(error)}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
