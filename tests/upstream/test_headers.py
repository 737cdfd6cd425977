"""Whose key travels, that our own token never does, and what a client sees of a reply's headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from metaclaw.upstream.headers import OutgoingHeaders, for_client
from metaclaw.upstream.route import Route

TOKEN = "mc-0123456789"
OURS = Route("http://a/v1", "p", api_key="theirs")
NO_KEY = Route("http://a/v1", "p")
CLIENTS = Route("http://a/v1", "p", auth="passthrough")
KEYS = {"Authorization": "Bearer sk-client", "X-Api-Key": "sk-ant-client"}


def sent(headers: dict[str, str], route: Route = OURS, wire_format: str = "chat") -> dict[str, str]:
    found = OutgoingHeaders(TOKEN).for_upstream(CIMultiDict(headers), route, wire_format)
    return {name.lower(): value for name, value in found.items()}


@pytest.mark.parametrize("wire_format", ["chat", "responses"])
def test_our_key_goes_as_a_bearer_and_the_clients_stay_here(wire_format: str) -> None:
    found = sent(KEYS, OURS, wire_format)
    assert found["authorization"] == "Bearer theirs"
    assert not {"x-api-key", "anthropic-version"} & set(found)


def test_in_the_messages_format_our_key_has_its_own_header_and_the_version_a_default() -> None:
    found = sent(KEYS, OURS, "messages")
    assert (found["x-api-key"], found["anthropic-version"]) == ("theirs", "2023-06-01")
    assert "authorization" not in found


def test_a_version_of_the_clients_own_wins() -> None:
    assert sent({"Anthropic-Version": "2030-01-01"}, OURS, "messages")["anthropic-version"] == "2030-01-01"


@pytest.mark.parametrize("wire_format", ["chat", "messages", "responses"])
def test_without_a_key_none_is_sent(wire_format: str) -> None:
    assert not {"authorization", "x-api-key"} & set(sent(KEYS, NO_KEY, wire_format))


@pytest.mark.parametrize("wire_format", ["chat", "messages", "responses"])
def test_passed_through_the_clients_keys_go_on_as_they_came(wire_format: str) -> None:
    found = sent(KEYS | {"anthropic-beta": "oauth-2025-04-20"}, CLIENTS, wire_format)
    assert (found["authorization"], found["x-api-key"]) == ("Bearer sk-client", "sk-ant-client")
    assert found["anthropic-beta"] == "oauth-2025-04-20"


ANTHROPICS = {"Anthropic-Version": "2023-06-01"}  # a client of that format
LONE = {"Authorization": "Bearer sk-client"}, {"X-Api-Key": "sk-client"}


@pytest.mark.parametrize("key", [*LONE, {"Authorization": "Bearer ", "X-Api-Key": "sk-client"}])
def test_passed_through_a_lone_key_goes_where_a_provider_of_another_format_reads_it(key: dict[str, str]) -> None:
    assert sent(key, CLIENTS, "messages")["x-api-key"] == "sk-client"
    for wire_format in ("chat", "responses"):
        found = sent(key | ANTHROPICS, CLIENTS, wire_format)
        assert (found["authorization"], "x-api-key" in found) == ("Bearer sk-client", False)


@pytest.mark.parametrize(("wire_format", "version"), [("chat", {}), ("messages", ANTHROPICS)])
@pytest.mark.parametrize("key", LONE)
def test_passed_through_in_the_clients_own_format_a_lone_key_stays_where_it_was(
    wire_format: str, version: dict[str, str], key: dict[str, str]
) -> None:
    ((name, value),) = key.items()
    found = sent(key | version, CLIENTS, wire_format)
    assert {one: found[one] for one in ("authorization", "x-api-key") if one in found} == {name.lower(): value}


@pytest.mark.parametrize("value", ["Bearer sk-ant-oat01-client", "Basic c2s="])
def test_what_is_no_key_stays_where_it_was(value: str) -> None:
    found = sent({"Authorization": value}, CLIENTS, "messages")
    assert (found["authorization"], "x-api-key" in found) == (value, False)


@pytest.mark.parametrize("route", [OURS, CLIENTS, NO_KEY])
@given(
    name=st.sampled_from(["authorization", "x-api-key", "api-key", "x-metaclaw-token", "x-original-url", "x-any"]),
    around=st.sampled_from(["{}", "Bearer {}", "bearer  {}", "/t/{}/v1/messages", "key={}", "a, {};b", "x-{}", "{}-1"]),
)
def test_our_token_never_travels(route: Route, name: str, around: str) -> None:
    assert TOKEN not in str(sent({name: around.format(TOKEN)}, route))


def test_a_short_token_takes_no_other_header_along() -> None:
    headers = OutgoingHeaders("a").for_upstream({"x-any": "an a la carte", "x-more": "banana"}, NO_KEY, "chat")
    assert ("x-any" in headers, headers["x-more"]) == (False, "banana")


def test_without_a_token_of_ours_everything_passes() -> None:
    assert OutgoingHeaders().for_upstream({"x-empty": "", "x-any": "y"}, NO_KEY, "chat")["x-empty"] == ""


@pytest.mark.parametrize(
    ("headers", "has"),
    [
        ({}, False),
        ({"authorization": f"Bearer {TOKEN}"}, False),
        ({"x-api-key": TOKEN}, False),
        ({"authorization": f"Bearer {TOKEN}", "x-api-key": "sk-ant-client"}, True),
        ({"authorization": "Bearer sk-client", "x-metaclaw-token": TOKEN}, True),
        ({"x-other-key": "sk-client"}, False),
    ],
)
def test_a_key_of_the_clients_own_is_told_from_our_token(headers: dict[str, str], has: bool) -> None:
    assert OutgoingHeaders(TOKEN).has_provider_key(CIMultiDict(headers)) is has


def test_what_belongs_to_a_connection_does_not_travel() -> None:
    hop = {"Connection": "keep-alive", "TE": "trailers", "Accept-Encoding": "br", "Content-Length": "3"}
    assert sent({**hop, "Cookie": "a=b", "X-New": "1"}, NO_KEY) == {
        "x-new": "1", "content-type": "application/json", "accept-encoding": "identity"
    }
    reply = CIMultiDict([("Transfer-Encoding", "chunked"), ("x-many", "1"), ("X-Many", "2"), ("Retry-After", "3")])
    assert [*for_client(reply).items()] == [("x-many", "1"), ("X-Many", "2"), ("Retry-After", "3")]


def test_the_headers_of_the_route_win() -> None:
    route = Route("http://a/v1", "p", headers=(("x-metaclaw-side", "learner"), ("connection", "close")))
    assert sent({"X-Metaclaw-Side": "no"}, route)["x-metaclaw-side"] == "learner"
