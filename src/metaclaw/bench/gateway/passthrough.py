"""A bare aiohttp pass-through: the least that a gateway in Python can do, and so the limit for ours.

`python -m metaclaw.bench.gateway.passthrough PORT UPSTREAM_URL`
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

SESSION = web.AppKey("session", aiohttp.ClientSession)


def build(upstream: str) -> web.Application:
    async def session(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as opened:
            app[SESSION] = opened
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {"content-type": "application/json"}
        async with request.app[SESSION].post(upstream + request.path, data=body, headers=headers) as reply:
            if reply.content_type != "text/event-stream":
                return web.Response(status=reply.status, body=await reply.read(), content_type=reply.content_type)
            out = web.StreamResponse(status=reply.status, headers={"content-type": reply.content_type})
            await out.prepare(request)
            async for chunk in reply.content.iter_any():
                await out.write(chunk)
            await out.write_eof()
            return out

    app = web.Application(client_max_size=1 << 26)
    app.cleanup_ctx.append(session)
    app.router.add_post("/{path:.*}", forward)
    return app


if __name__ == "__main__":
    web.run_app(build(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
