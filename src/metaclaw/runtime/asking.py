"""How the learner asks a model: through the gateway's own door, or a judge elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from metaclaw.config.fast_loop import JudgeSettings
from metaclaw.evolve.loop import Judge
from metaclaw.gateway.sidecalls import SIDE_HEADER
from metaclaw.gateway.turn import SKILLS_HEADER
from metaclaw.signals.judge import judge
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.upstream.route import Route


class Ask:
    """A question to the model behind a route."""

    def __init__(self, client: UpstreamClient, route: Route, model: str = "metaclaw") -> None:
        self._client = client
        self._route = route
        self._model = model

    async def __call__(self, body: dict[str, Any]) -> str:
        return reply_text(await self._reply(body))

    async def message(self, body: dict[str, Any]) -> Mapping[str, Any]:
        """The assistant's message, with the tools that it calls."""
        reply = await self._reply(body)
        reply_text(reply)  # else it is none
        message: Mapping[str, Any] = reply["choices"][0]["message"]
        return message

    async def _reply(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._client.json(self._route, "/chat/completions", {"model": self._model, **body})


def own_door(gateway_url: str, token: str) -> Route:
    """The gateway as the learner asks it: side calls, without skills."""
    return Route(
        f"{gateway_url}/v1", "gateway", api_key=token, headers=((SIDE_HEADER, "learner"), (SKILLS_HEADER, "off"))
    )


def judge_of(settings: JudgeSettings, client: UpstreamClient, gateway: Route) -> Judge | None:
    if not settings.enabled:
        return None
    route = gateway
    if settings.url:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        route = Route(settings.url.rstrip("/"), "judge", api_key=key)
    ask = Ask(client, route, settings.model or "metaclaw")
    return partial(judge, rubric=settings.rubric, votes=settings.votes, ask=ask)
