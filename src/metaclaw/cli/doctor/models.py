"""The doctor looks at what answers: the embedded model's file, or whether providers are there and take their keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from metaclaw.cli.doctor.finding import Finding, broken, note, ok
from metaclaw.config.settings import Settings
from metaclaw.errors import UpstreamError, WeightsError
from metaclaw.serving.fetch import Progress
from metaclaw.serving.known_models import KNOWN
from metaclaw.serving.stamps import sha256_of
from metaclaw.serving.weights import present
from metaclaw.upstream.client import UpstreamClient, read
from metaclaw.upstream.providers import configured
from metaclaw.upstream.route import Route

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A provider, the setting that its key is in, and what it said: a status with a list, or why nothing came."""

    name: str
    route: Route
    key: str
    status: int | None = None
    body: bytes = b""
    date: float | None = None
    failure: str = ""


def weights(settings: Settings, progress: Progress) -> Iterator[Finding]:
    name = settings.model.name
    try:
        path = present(name, settings.weights_dir)
    except WeightsError as error:
        yield broken("weights", str(error), "Set model.name to one of those.")
        return
    if path is None:
        known = KNOWN.get(name)
        size = f" ({known.size_bytes / 1e9:.1f} GB)" if known else ""
        yield note("weights", f"{name} is not on this disk yet", f"`metaclaw start` downloads it{size}.")
        return
    found = sha256_of(path, progress)
    if name in KNOWN and found != KNOWN[name].sha256:
        yield broken(
            "weights", f"{path} is not the published file: sha256 {found}, not {KNOWN[name].sha256}",
            f"rm {path}: the next start downloads it again",
        )
    else:
        yield ok("weights", f"{path}, sha256 {found[:16]}…" + (", as published" if name in KNOWN else ""))


async def ask(settings: Settings) -> list[Asked]:
    """Each provider for the models that it lists: this costs nothing, and takes the key or refuses it."""
    found = []
    async with UpstreamClient(CONNECT_SECONDS, ANSWER_SECONDS) as client:
        for name, route, key in _providers(settings):
            found.append(await _ask(client, Asked(name, route, key)))
    return found


def provider(asked: Asked) -> Finding:
    name, url = f"upstream {asked.name}", asked.route.url
    if asked.status is None:
        return broken(name, asked.failure, f"Start it, or mend its url in {asked.key.rpartition('.')[0]}.")
    if asked.status in (401, 403):
        if asked.route.auth == "passthrough":
            return ok(name, f"{url} answers; clients bring their own key")
        was = "refuses its key" if asked.route.api_key else "wants a key, and has none"
        return broken(name, f"{url} {was} ({asked.status})", f"Set {asked.key}, in the file or the environment.")
    if asked.status >= 500 or asked.status == 429:
        return note(name, f"{url} answers {asked.status}", "Try again later; requests fall back to other upstreams.")
    listed = models_of(asked.body) if asked.status < 300 else None
    if listed is None:
        return ok(name, f"{url} answers; it lists no models, so that its key could not be tried")
    wanted = asked.route.model
    if wanted and listed and wanted not in listed:
        some = ", ".join(listed[:5])
        return note(name, f"{url} answers, and does not list the model {wanted}", f"It lists {some}: check the name.")
    return ok(name, f"{url} answers and lists {len(listed)} models" + (f", {wanted} among them" if wanted else ""))


def models_of(raw: bytes) -> list[str] | None:
    """The names in a list of models, in OpenAI's or Anthropic's shape; None where it is none."""
    try:
        entries: Any = json.loads(raw)["data"]
        return [str(entry["id"]) for entry in entries]
    except (ValueError, KeyError, TypeError):
        return None


def _providers(settings: Settings) -> list[tuple[str, Route, str]]:
    """Whatever is asked over HTTP, with the setting that its key is in."""
    named: list[tuple[str, Route, str]] = []
    if providers := configured(settings):
        key = "upstreams.api_key" if settings.upstreams else "upstream.api_key"
        named += [(one.name, one.route, key) for one in providers.all]
    judge, context = settings.judge, settings.context
    if judge.enabled and judge.url:
        secret = judge.api_key.get_secret_value() if judge.api_key else None
        named.append(("judge", Route(judge.url.rstrip("/"), "judge", judge.model, secret), "judge.api_key"))
    if context.embeddings_url:
        secret = context.embeddings_api_key.get_secret_value() if context.embeddings_api_key else None
        route = Route(context.embeddings_url.rstrip("/"), "embeddings", context.embeddings_model, secret)
        named.append(("embeddings", route, "context.embeddings_api_key"))
    return named


async def _ask(client: UpstreamClient, asked: Asked) -> Asked:
    try:
        async with client.request("GET", asked.route, "/models", None) as reply:
            body = await read(reply, asked.route)
            date = _seconds(reply.headers.get("date", ""))
            return Asked(asked.name, asked.route, asked.key, reply.status, body, date)
    except UpstreamError as error:
        return Asked(asked.name, asked.route, asked.key, failure=str(error))


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def time_told(asked: Sequence[Asked]) -> float | None:
    return next((one.date for one in asked if one.date is not None), None)
