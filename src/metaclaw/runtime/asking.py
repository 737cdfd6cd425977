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


class AskAgain:
    """A request put to the gateway as its client would, skills and all; kept as a side call of its session."""

    def __init__(self, client: UpstreamClient, gateway_url: str, token: str) -> None:
        self._client = client
        self._route = own_door(gateway_url, token, skills=True)

    async def __call__(self, body: Mapping[str, Any], session: str) -> tuple[str, str]:
        """The id of its turn, and the reply. Raises `UpstreamError`."""
        asked = {"model": "metaclaw", **body}
        named = {"x-session-id": session}
        reply, headers = await self._client.exchange(self._route, "/chat/completions", asked, named)
        return headers.get("x-metaclaw-turn", ""), reply_text(reply)


def own_door(gateway_url: str, token: str, *, skills: bool = False) -> Route:
    """The gateway as the learner asks it: side calls, without skills unless they are wanted."""
    headers = ((SIDE_HEADER, "learner"), *([] if skills else [(SKILLS_HEADER, "off")]))
    return Route(f"{gateway_url}/v1", "gateway", api_key=token, headers=headers)


def judge_of(settings: JudgeSettings, client: UpstreamClient, gateway: Route) -> Judge | None:
    if not settings.enabled:
        return None
    route = gateway
    if settings.url:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        route = Route(settings.url.rstrip("/"), "judge", api_key=key)
    ask = Ask(client, route, settings.model or "metaclaw")
    return partial(judge, rubric=settings.rubric, votes=settings.votes, ask=ask)
