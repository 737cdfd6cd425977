"""The scripted worker of workdays as a provider: keeps to a house rule exactly where the prompt tells it that rule."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from metaclaw.bench.workdays.follower import Follower


class OfficeWorker(Follower):
    """An upstream's `answer`."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(_completion(self.message(await request.json())))


def _completion(message: dict[str, Any]) -> dict[str, Any]:
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    return {
        "id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "office-worker",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
    }  # fmt: skip
