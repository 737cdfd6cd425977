"""Closed by default: what may come in, and what is told to what may not."""

from __future__ import annotations

import pytest

from metaclaw.errors import RequestError
from metaclaw.gateway.auth import Door

SECRET = "secret"
LOCAL = {"host": "127.0.0.1:8790", "authorization": f"Bearer {SECRET}"}


def refusal(headers: dict[str, str], *, token: str = SECRET, path: str = "/v1/models") -> tuple[int, str] | None:
    try:
        Door(token, "gateway.test").check(path, headers)
    except RequestError as error:
        return error.status, error.code
    return None


@pytest.mark.parametrize("host", ["127.0.0.1:8790", "localhost", "[::1]:8790", "LOCALHOST:1", "gateway.test:80"])
def test_our_own_names_are_let_in(host: str) -> None:
    assert refusal({**LOCAL, "host": host}) is None


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "evil.example:8790@127.0.0.1.x"])
def test_foreign_hosts_are_refused(host: str) -> None:
    assert refusal({**LOCAL, "host": host}) == (403, "forbidden_host")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://[", "http://localhost.evil.example"])
def test_foreign_pages_are_refused_even_with_the_token(origin: str) -> None:
    assert refusal({**LOCAL, "origin": origin}) == (403, "forbidden_origin")
    assert refusal({**LOCAL, "origin": origin}, path="/healthz") == (403, "forbidden_origin")


def test_our_own_pages_are_let_in() -> None:
    assert refusal({**LOCAL, "origin": "http://localhost:8790"}) is None


@pytest.mark.parametrize("shown", ["", "Bearer wrong", "Bearer ", "Basic secret", "secret", "Bearer \udcff"])
def test_a_wrong_token_is_refused(shown: str) -> None:
    assert refusal({**LOCAL, "authorization": shown}) == (401, "invalid_api_key")


def test_the_token_may_come_as_x_api_key() -> None:
    assert refusal({"host": "localhost", "x-api-key": "secret"}) is None


def test_an_empty_token_opens_nothing() -> None:
    assert refusal({"host": "localhost"}, token="") == (401, "invalid_api_key")


@pytest.mark.parametrize("path", ["/healthz", "/", "/api/hello", "/s/a", "/s/a/", "/s/a/api/hello"])
def test_what_tells_nothing_needs_no_token(path: str) -> None:
    assert refusal({"host": "localhost"}, path=path) is None
    assert refusal({"host": "evil.example"}, path=path) == (403, "forbidden_host")


@pytest.mark.parametrize(
    "path", ["/healthz/", "/s/a/healthz", "/s/a/b", "/s//", "/api/hello/", "//", "/s/a/v1/models", "/\n"]
)
def test_anything_else_does(path: str) -> None:
    assert refusal({"host": "localhost"}, path=path) == (401, "invalid_api_key")
