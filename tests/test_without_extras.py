"""MetaClaw serves with what `pip install metaclaw` brings: a process in which the extras cannot be imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXTRAS = ("aiohttp", "yarl", "matplotlib", "mcp", "torch", "transformers", "peft", "xllamacpp", "h11", "cryptography",
          "opentelemetry", "google.protobuf")
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))\n"
SERVES = """
import asyncio, json
from pathlib import Path
import metaclaw.cli.main, metaclaw.learner, metaclaw.serving.engine
from metaclaw.config.settings import Settings
from metaclaw.dialects import chat
from metaclaw.runtime.gateway import Gateway
from metaclaw.wire.client import Connections
from metaclaw.wire.head import Headers
from metaclaw.wire.server import Limits, Response, Server

SAID = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}]}

async def provider(request):
    await request.read(1 << 20)
    return Response.json(SAID)

async def main(home):
    upstream = Server(provider, Limits(5, 5, 50), chat.error_body)
    port = await upstream.listen("127.0.0.1", 0)
    settings = Settings.model_validate({
        "data_dir": home, "gateway": {"port": 0}, "upstream": {"url": f"http://127.0.0.1:{port}/v1", "api_key": "key"},
        "evolve": {"enabled": False}, "training": {"enabled": False},
    })
    connections = Connections(5, 5)
    async with Gateway(settings, None) as gateway:
        headers = Headers({"authorization": f"Bearer {gateway.token}"})
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
        reply = await connections.ask("POST", gateway.url, "/v1/chat/completions", headers, body)
        print(reply.status, json.loads(await reply.read())["choices"][0]["message"]["content"])
    await connections.close()
    await upstream.close(1)

asyncio.run(main(sys.argv[1]))
"""


def test_it_serves_without_any_extra(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED + SERVES, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.strip() == "200 Hello.", done.stderr


@pytest.mark.parametrize(("arguments", "package"), [(["demo"], "aiohttp"), (["bench", "retrieval"], "aiohttp"),
                                                    (["mcp"], "mcp")])
def test_what_needs_an_extra_says_so(arguments: list[str], package: str) -> None:
    script = f"{BLOCKED}sys.argv[1:] = {arguments}\nfrom metaclaw.cli.main import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode != 0
    assert f"needs the package {package}: pip install" in " ".join(done.stderr.split()), done.stderr


def test_no_extra_is_asked_of_everybody() -> None:
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    base = project.partition("dependencies = [")[2].partition("]")[0]
    assert "httptools" in base
    assert not re.search("|".join(EXTRAS), base)
