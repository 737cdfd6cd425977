"""Closed by default: what may come in, and what is told to what may not."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from metaclaw.errors import RequestError
from metaclaw.gateway.auth import Door
from metaclaw.running import gateways
from raw_http import ask, request
from running_gateway import CHAT, TOKEN, serving
from upstream_server import chat_body

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


def test_a_further_name_is_let_in_and_an_unspecified_address_is_no_name() -> None:
    door = Door(SECRET, "0.0.0.0", ["metaclaw"])  # noqa: S104 - as in a container; nothing listens here
    door.check("/v1/models", {**LOCAL, "host": "metaclaw:8790"})
    door.check("/v1/models", {**LOCAL, "origin": "http://metaclaw:8790"})
    for host in ("0.0.0.0:8790", "metaclaw.evil.example", ""):
        with pytest.raises(RequestError, match=r"gateway\.allowed_hosts"):
            door.check("/v1/models", {**LOCAL, "host": host})
    with pytest.raises(RequestError, match="its own address"):
        Door(SECRET, "").check("/healthz", {})


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


@pytest.mark.parametrize("header", ["x-metaclaw-token", "x-api-key"])
def test_the_token_may_come_in_a_header_of_its_own_beside_the_providers_key(header: str) -> None:
    keyed = {"host": "localhost", "authorization": "Bearer sk-providers-own"}
    assert refusal({**keyed, header: SECRET}) is None
    assert refusal({**keyed, header: "wrong"}) == (401, "invalid_api_key")


def test_the_token_may_come_in_the_path() -> None:
    keyed = {"host": "localhost", "authorization": "Bearer sk-providers-own"}
    assert refusal(keyed, path="/t/secret/v1/models") is None
    assert refusal(keyed, path="/t/a%2Fb/v1/models", token="a/b") is None
    for path in ("/t/wrong/v1/models", "/t/secret", "/t//v1/models", "/x/t/secret/v1/models", "/v1/models?/t/secret/"):
        assert refusal(keyed, path=path) == (401, "invalid_api_key")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
def test_what_the_browser_says_comes_from_another_site_is_refused(site: str) -> None:
    assert refusal({**LOCAL, "sec-fetch-site": site}) == (403, "forbidden_origin")


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_what_comes_from_our_own_page_or_from_the_address_line_is_let_in(site: str) -> None:
    assert refusal({**LOCAL, "sec-fetch-site": site, "content-type": "application/json"}) is None


@pytest.mark.parametrize(
    "kind", ["Text/Plain;charset=UTF-8", "multipart/form-data", "application/x-www-form-urlencoded"]
)
@pytest.mark.parametrize(
    "browser", [{"origin": "http://localhost:8790"}, {"sec-fetch-site": "same-origin"}, {"user-agent": "Mozilla/5.0"}]
)
def test_what_a_page_may_post_without_asking_is_refused_from_browsers_alone(kind: str, browser: dict[str, str]) -> None:
    assert refusal({**LOCAL, **browser, "content-type": kind}) == (403, "forbidden_form")
    assert refusal({**LOCAL, **browser, "content-type": "application/json"}) is None
    assert refusal({**LOCAL, "user-agent": "curl/8", "content-type": kind}) is None


# -- the path as it was sent -------------------------------------------------------------------------------------------

CLOSED = [
    "/%68ealthz", "//healthz", "/healthz/", "/HEALTHZ", "/./healthz", "/healthz/.", "/healthz%00", "/healthz;x", "*",
    "/healthz/../v1/metaclaw/status", "/v1/../healthz", "/v1/metaclaw/../../healthz", "/healthz%2f..%2fv1/models",
    "/healthz%3f/../v1/metaclaw/status", "/healthz#/../v1/metaclaw/status", "/v1/metaclaw/status?/healthz",
    "/v1/metaclaw/status#/healthz", "//127.0.0.1/healthz", "http://127.0.0.1/healthz", "http://evil.example/healthz",
    "/t//healthz", "/t/x/../../healthz", "/t/%2e%2e/healthz", "/s/a/../../healthz", "/s/..%2fhealthz",
    "/s/%2e%2e/v1/models", "/s/../v1/models", "/s/..%2fv1%2fmetaclaw%2fstatus", "/s/a/..%2f..%2fhealthz",
    "/s/a/api/hello/../../../healthz", "/%2e/healthz", "/healthz%20",
]


@pytest.mark.parametrize(
    "path", ["/v1/responses/../files", "/v1/responses/x/..", "/v1/responses/%2E%2e/files", "/v1/responses/..%2Ffiles",
             "/v1/models/.%5cx", "/v1/./models", "/.", "/v1/responses/a%2f..%2f..%2ffiles?x=1", "/v1\\..\\x"]
)
def test_no_path_leads_upwards_even_with_the_token(path: str) -> None:
    assert refusal(LOCAL, path=path) == (400, "invalid_target")


@pytest.mark.parametrize("path", ["/v1/models/org/.m", "/v1/models/m..2", "/v1/models/...", "/v1/models/a?x=/../"])
def test_dots_that_lead_nowhere_are_let_in(path: str) -> None:
    assert refusal(LOCAL, path=path) is None


async def test_no_way_of_writing_a_path_opens_what_is_closed(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        for target in CLOSED:
            got = await ask(door.gateway.url, request(target))
            assert got.status in (400, 401), (target, got)
            assert b"policy" not in got.body
        for target in ("/healthz", "/healthz?x=1"):
            assert (await ask(door.gateway.url, request(target))).status == 200
        assert door.upstream.seen == []


async def test_a_client_keeps_its_authorization_where_the_token_is_in_the_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    own = {"authorization": "Bearer sk-providers-own"}
    async with serving(tmp_path) as door:
        for path, session in ((f"/t/{TOKEN}{CHAT}", None), (f"/t/{TOKEN}/s/agent-7{CHAT}", "agent-7")):
            async with door.http.post(path, data=chat_body(), headers=own) as reply:
                assert reply.status == 200
                assert session in (None, reply.headers["x-metaclaw-session"])
            assert (door.upstream.seen[-1].path, TOKEN in str(door.upstream.seen[-1])) == (CHAT, False)
        async with door.http.post(f"/t/wrong{CHAT}", data=chat_body(), headers=own) as reply:
            assert reply.status == 401
        async with door.http.get(f"/t/{TOKEN}/v1/nothing", headers=own) as reply:
            assert reply.status == 404
        header = {**own, "x-metaclaw-token": TOKEN}
        assert (await door.http.post(CHAT, data=chat_body(), headers=header)).status == 200
        assert "x-metaclaw-token" not in door.upstream.seen[-1].headers
    assert TOKEN not in caplog.text


async def test_a_gateway_on_ipv6_is_found_under_its_address(tmp_path: Path) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    async with serving(tmp_path, gateway={"host": "::1"}) as door:
        assert re.fullmatch(r"http://\[::1\]:\d+", door.gateway.url)
        assert (await door.health())["status"] == "ok"
        assert [one.url for one in gateways(tmp_path)] == [door.gateway.url]


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True
