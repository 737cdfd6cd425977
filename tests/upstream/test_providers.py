"""Who is asked, in which order, and who is left alone for a while."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.config.settings import Settings
from metaclaw.errors import RequestError, UpstreamError
from metaclaw.upstream.providers import LONGEST_COOLDOWN_SECONDS, Provider, Providers, configured, seconds_of
from metaclaw.upstream.route import Auth, Route

FAILED = UpstreamError(503, "upstream_refused", "no")
BUSY = UpstreamError(429, "upstream_refused", "slow down", "120")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def provider(name: str, auth: Auth = "key", **changes: object) -> Provider:
    return Provider(name, Route(f"http://{name}/v1", f"provider:{name}/as-asked", auth=auth), **changes)  # type: ignore[arg-type]


def names(routes: object) -> list[str]:
    return [route.url.removeprefix("http://").removesuffix("/v1") for route in routes]  # type: ignore[attr-defined]


def test_the_lowest_order_comes_first_and_only_who_serves_the_model() -> None:
    chosen = Providers([
        provider("last", order=9), provider("gpt", models=("gpt-*", "o?")), provider("claude", models=("claude-*",)),
    ])
    assert names(chosen.routes("gpt-5")) == ["gpt", "last"]
    assert names(chosen.routes("o3")) == ["gpt", "last"]
    assert names(chosen.routes("O3")) == ["last"]
    assert names(chosen.routes("claude-9")) == ["claude", "last"]
    assert set(names(chosen.routes(None))) == {"gpt", "claude", "last"}


def test_a_model_that_nobody_serves_is_not_found() -> None:
    with pytest.raises(RequestError, match=r"'m'.*upstreams\.models") as refused:
        Providers([provider("a", models=("x",)), provider("b", models=("y",))]).routes("m")
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


def test_weights_are_shares_of_the_first_place() -> None:
    chosen = Providers([provider("a", weight=3), provider("b")], draw=random.Random(1).random)
    first = Counter(names(chosen.routes("m"))[0] for _ in range(4000))
    assert 2850 < first["a"] < 3150


def test_who_failed_is_left_alone_until_its_cooldown_is_over() -> None:
    clock = Clock()
    a, b = provider("a", cooldown_seconds=30), provider("b", order=2)
    chosen = Providers([a, b], now=clock)
    chosen.failed(a.route, FAILED)
    assert names(chosen.routes("m")) == ["b"]
    clock.seconds += 29
    assert names(chosen.routes("m")) == ["b"]
    clock.seconds += 2
    assert names(chosen.routes("m")) == ["a", "b"]


def test_retry_after_is_kept_to_up_to_a_bound_and_never_shortened() -> None:
    clock = Clock()
    a, b = provider("a"), provider("b", order=2)
    chosen = Providers([a, b], now=clock)
    chosen.failed(a.route, BUSY)
    chosen.failed(a.route, FAILED)
    clock.seconds += 119
    assert names(chosen.routes("m")) == ["b"]
    clock.seconds += 2
    assert names(chosen.routes("m")) == ["a", "b"]
    chosen.failed(a.route, UpstreamError(429, "x", "y", "999999"))
    clock.seconds += LONGEST_COOLDOWN_SECONDS + 1
    assert names(chosen.routes("m")) == ["a", "b"]


def test_where_all_cool_down_the_one_that_is_ready_first_is_asked_alone() -> None:
    a, b = provider("a"), provider("b", cooldown_seconds=5)
    chosen = Providers([a, b], now=Clock())
    for one in (a, b):
        chosen.failed(one.route, FAILED)
    assert names(chosen.routes("m")) == ["b"]


def test_a_lone_provider_is_always_asked() -> None:
    a = provider("a")
    chosen = Providers([a], now=Clock())
    chosen.failed(a.route, BUSY)
    assert names(chosen.routes("m")) == ["a"]


def test_without_a_key_of_the_clients_own_only_those_with_ours_are_asked() -> None:
    chosen = Providers([provider("theirs", auth="passthrough"), provider("ours", order=2)])
    assert names(chosen.routes("m", keyed=True)) == ["theirs", "ours"]
    assert names(chosen.routes("m")) == ["ours"]


def test_where_a_key_is_needed_and_missing_the_error_says_what_to_do() -> None:
    with pytest.raises(RequestError, match=r"x-api-key.*x-metaclaw-token.*/t/TOKEN/v1") as refused:
        Providers([provider("theirs", auth="passthrough")]).routes("m")
    assert (refused.value.status, refused.value.code) == (401, "missing_provider_key")


def test_the_state_says_who_cools_down_and_why() -> None:
    a, b = provider("a"), provider("b")
    chosen = Providers([a, b], now=Clock())
    chosen.failed(a.route, BUSY)
    with chosen.lease(b.route):
        state = {one["name"]: one for one in chosen.state()}
    assert (state["a"]["cooldown_seconds_left"], state["a"]["last_failure"]) == (120.0, "429 upstream_refused")
    assert (state["b"]["cooldown_seconds_left"], state["b"]["last_failure"], state["b"]["in_flight"]) == (0.0, None, 1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17.0), ("0.5", 0.5), ("-3", 0.0), ("nan", 0.0), (None, None), ("", None), ("soon", None),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0), ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 00:01:00", None), ("Thu, 99 Jan 2026 00:01:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header, lambda: datetime(2026, 1, 1, tzinfo=UTC)) == seconds


@given(st.text())
def test_no_retry_after_makes_it_stumble(header: str) -> None:
    assert (seconds_of(header) or 0.0) >= 0.0


def test_the_simple_form_is_one_provider_named_after_its_host() -> None:
    settings = Settings.model_validate({
        "upstream": {"url": "http://localhost:8000/v1/", "model": "m", "api_key": "k", "formats": ["messages"]}
    })
    found = configured(settings)
    assert found is not None
    assert found.routes("anything") == (
        Route("http://localhost:8000/v1", "provider:localhost:8000/m", "m", "k", formats=("messages",)),
    )
    assert found.is_transparent
    assert found.policy == "provider:localhost:8000/m"


def test_several_providers_come_with_all_that_their_tables_say() -> None:
    settings = Settings.model_validate({"upstreams": [
        {"name": "main", "url": "https://a/v1", "auth": "passthrough", "models": ["claude-*"], "order": 2,
         "formats": ["messages", "chat"]},
        {"name": "spare", "url": "https://b/v1", "api_key": "k", "weight": 2.5, "cooldown_seconds": 7},
    ]})
    found = configured(settings)
    assert found is not None
    assert not found.is_transparent
    spare, main = found.all
    assert main == Provider(
        "main", Route("https://a/v1", "provider:main/as-asked", formats=("messages", "chat"), auth="passthrough"),
        ("claude-*",), 2,
    )
    assert spare == Provider(
        "spare", Route("https://b/v1", "provider:spare/as-asked", api_key="k"), weight=2.5, cooldown_seconds=7
    )


def test_without_a_provider_the_embedded_model_answers() -> None:
    assert configured(Settings()) is None
