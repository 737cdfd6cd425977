"""Which of several providers answers a request: who serves its model, in which order, and who is left alone.

In: a client's model name, and the failures that requests met. Out: the routes to try. Those that serve the model come
lowest `order` first, within an order by a weighted draw, without those in cooldown. Where all are in cooldown, the one
whose cooldown ends first is asked all the same: a lone provider is always asked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from metaclaw.config.request_path import NamedUpstreamSettings, ProviderSettings
from metaclaw.config.settings import Settings
from metaclaw.errors import RequestError, UpstreamError
from metaclaw.upstream.route import Route, Router

LONGEST_COOLDOWN_SECONDS = 3600.0  # whatever it asks for: quotas come back, and somebody has to notice
WILDCARDS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Provider:
    """`models` are the client's model names that it serves, as globs."""

    name: str
    route: Route
    models: tuple[str, ...] = ("*",)
    order: int = 1
    weight: float = 1.0
    cooldown_seconds: float = 30.0

    def serves(self, model: str | None) -> bool:
        return model is None or any(fnmatchcase(model, pattern) for pattern in self.models)

    def names(self, model: Any) -> bool:
        """Whether `model` is the name of one model that it serves, rather than a pattern or something else."""
        return isinstance(model, str) and not WILDCARDS & set(model) and self.serves(model)


class Providers(Router):
    """The providers of one gateway, with what became of the last requests to each."""

    def __init__(
        self,
        providers: Sequence[Provider],
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        super().__init__()
        self.all = tuple(sorted(providers, key=lambda provider: provider.order))
        self._of_route = {provider.route: provider for provider in self.all}
        self._now = now
        self._draw = draw
        self._cooldown_ends: dict[Route, float] = {}
        self._failures: dict[Route, str] = {}

    @property
    def policy(self) -> str:
        return ", ".join(provider.route.policy for provider in self.all)

    @property
    def is_transparent(self) -> bool:
        """Whether there is one that serves every model: what it says of its models then holds for us."""
        return len(self.all) == 1 and self.all[0].models == ("*",)

    def routes(self, model: str | None = None, *, keyed: bool = False, session: str = "") -> Sequence[Route]:
        """Raises `RequestError` where none serves the model (404), or the client's key is needed and missing (401)."""
        able = [provider for provider in self.all if provider.serves(model)]
        if not able:
            raise RequestError(
                404, "model_not_found",
                f"No upstream serves the model '{str(model)[:100]}'. GET /v1/models lists those there are; the setting"
                " upstreams.models says which names an upstream serves.",
            )
        usable = [provider for provider in able if keyed or provider.route.auth == "key"]
        if not usable:
            raise RequestError(
                401, "missing_provider_key",
                "The upstream takes your own provider key, and this request has none. Send it as Authorization or"
                " x-api-key, as you would to the provider, and MetaClaw's token as x-metaclaw-token or in the path:"
                " /t/TOKEN/v1.",
            )
        if len(usable) == 1:
            return (usable[0].route,)
        awake = [provider for provider in usable if not self._cooldown_left(provider.route)]
        if not awake:
            return (min(usable, key=lambda provider: self._cooldown_left(provider.route)).route,)
        return [provider.route for provider in sorted(awake, key=self._place)]

    def failed(self, route: Route, error: UpstreamError) -> None:
        asked_for = seconds_of(error.retry_after)
        usual = self._of_route[route].cooldown_seconds
        seconds = usual if asked_for is None else min(asked_for, LONGEST_COOLDOWN_SECONDS)
        self._cooldown_ends[route] = max(self._cooldown_ends.get(route, 0.0), self._now() + seconds)
        self._failures[route] = f"{error.status} {error.code}"

    async def instead_of(self, route: Route, error: UpstreamError) -> Route | None:
        """Nobody starts a provider again, and what was asked of it may have been done."""

    def state(self) -> list[dict[str, Any]]:
        return [
            {
                "name": provider.name,
                "policy": provider.route.policy,
                "url": provider.route.url,
                "in_flight": self._leases.get(provider.route, 0),
                "cooldown_seconds_left": round(self._cooldown_left(provider.route), 1),
                "last_failure": self._failures.get(provider.route),
            }
            for provider in self.all
        ]

    def _cooldown_left(self, route: Route) -> float:
        return max(0.0, self._cooldown_ends.get(route, 0.0) - self._now())

    def _place(self, provider: Provider) -> tuple[int, float]:
        """Of those within an order, each comes first as often as its weight says (Efraimidis and Spirakis, 2006)."""
        return provider.order, -(self._draw() ** (1 / provider.weight))


def seconds_of(retry_after: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> float | None:
    """The header Retry-After, in seconds from now: a number or a date comes in. None for anything else."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - now()).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a time zone
        return None


def configured(settings: Settings) -> Providers | None:
    """The providers that the settings name; None where the embedded model answers."""
    if settings.upstreams:
        return Providers([_named(one) for one in settings.upstreams])
    if settings.upstream.url is None:
        return None
    name = urlsplit(settings.upstream.url).netloc
    return Providers([Provider(name, _route(settings.upstream, name))])


def _named(settings: NamedUpstreamSettings) -> Provider:
    return Provider(
        settings.name, _route(settings, settings.name), tuple(settings.models), settings.order, settings.weight,
        settings.cooldown_seconds,
    )


def _route(settings: ProviderSettings, name: str) -> Route:
    return Route(
        url=(settings.url or "").rstrip("/"),
        policy=f"provider:{name}/{settings.model or 'as-asked'}",
        model=settings.model,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        formats=tuple(settings.formats),
        auth=settings.auth,
    )
