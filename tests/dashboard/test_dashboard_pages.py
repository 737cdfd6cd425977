"""The dashboard over HTTP: who may come in, what each reply carries, and that nothing that a turn says runs."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import three_weeks
from metaclaw.dashboard.server import MOST_WAITING, ON_EVERY_REPLY, THREADS
from metaclaw.types import Skill, SkillState
from office_dashboard import TOKEN, Office, opened
from support import keep, make_feedback, make_turn

PAGES = ("/", "/turns", "/turns?show=failed", "/turns?q=budget+review", "/turns?live=0", "/turns/rows", "/skills",
         "/skills?view=waiting", "/skills?view=retired", "/skills?view=all", "/skills/iso-dates",
         "/skills/iso-dates?old=1&new=1", "/skills/all-mails", "/skills/working-days", "/skills/short-answers",
         "/adapters", "/training", "/training/progress", "/health")


class Seen(HTMLParser):
    """What a browser would make of a page: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


async def test_every_page_is_there_after_three_weeks(office: Office) -> None:
    """And none holds a secret, a script or style of its own, or anything from elsewhere."""
    await office.enter()
    for path in PAGES:
        page = await office.text(path)
        assert TOKEN not in page
        assert len(page) > 500
        _has_nothing_foreign(Seen(page))


async def test_it_listens_where_it_is_told_to(office_home: Path) -> None:
    async with opened(office_home, host="127.0.0.2") as office:
        assert office.dashboard.url.startswith("http://127.0.0.2:")
        await office.enter()
        assert "Overview" in await office.text("/")


async def test_every_page_says_what_to_do_before_anything_happened(empty_office: Office) -> None:
    await empty_office.enter()
    for path in ("/", "/turns", "/skills", "/adapters", "/training", "/health"):
        seen = Seen(await empty_office.text(path))
        assert seen.all("main")
        if path not in ("/training", "/health"):
            assert re.search(r"Point an agent|Correct an answer|When enough turns", seen.text), path


async def test_whoever_has_no_session_sees_no_page(office: Office) -> None:
    for path in (*PAGES, "/nothing"):
        async with office.http.get(path) as reply:
            assert reply.status == 401
            assert "metaclaw dashboard" in await reply.text()


async def test_a_link_makes_a_session_once(office: Office) -> None:
    link = await office.link()
    assert urlsplit(link).netloc == urlsplit(office.url).netloc
    async with office.http.get(link, allow_redirects=False) as reply:
        assert (reply.status, reply.headers["location"]) == (303, "/")
        cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    async with office.http.get(link, allow_redirects=False) as reply:
        assert reply.status == 403
        assert "set-cookie" not in reply.headers


async def test_a_link_is_for_those_with_the_token(office: Office) -> None:
    known = {"authorization": f"Bearer {TOKEN}"}
    for headers in ({}, {"authorization": "Bearer wrong"}, {**known, "origin": "http://evil.example"}):
        async with office.http.post("/link", headers=headers) as reply:
            assert reply.status in (401, 403)
    async with office.http.get("/link", headers={"authorization": f"Bearer {TOKEN}"}) as reply:
        assert reply.status == 401


async def test_foreign_pages_and_hosts_are_refused(office: Office) -> None:
    await office.enter()
    for header, value in (
        ("host", "metaclaw.evil.example"), ("origin", "http://evil.example"), ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ):
        async with office.http.get("/skills", headers={header: value}) as reply:
            assert reply.status == 403
            assert "iso-dates" not in await reply.text()


async def test_every_reply_carries_the_same_headers(office: Office) -> None:
    paths = ["/skills", "/nothing", "/static/0/none.js", "/enter?key=wrong"]
    await office.enter()
    style = next(one["href"] for one in Seen(await office.text("/")).all("link") if one["rel"] == "stylesheet")
    for path in (*paths, str(style)):
        async with office.http.get(path) as reply:
            assert {name: reply.headers[name] for name in ON_EVERY_REPLY} == ON_EVERY_REPLY, path
            assert ("immutable" in reply.headers["cache-control"]) == (reply.status == 200 and path == style)
    assert "unsafe" not in ON_EVERY_REPLY["content-security-policy"]


def _has_nothing_foreign(seen: Seen) -> None:
    for tag, attributes in seen.elements:
        assert tag not in ("style", "iframe", "object", "base")
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("src", "href", "action", "hx-get"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), (tag, attributes)
    assert all(one.get("src") for one in seen.all("script"))


async def test_nothing_that_a_turn_or_a_skill_says_becomes_html(office: Office) -> None:
    """A hostile user, model and skill: markup, ends of attributes, a template's braces, signs that turn text round."""
    hostile = f'{three_weeks.HOSTILE}"><b onmouseover=alert(3)>{{{{ 7 * 7 }}}}</textarea></title></script><script>'
    turn = make_turn(hostile, hostile, id='turn-"><script>', session='s"><script>alert(4)</script>', injected=hostile)
    await keep(office.database, turn, make_feedback(turn, hostile, -1.0, "[<script>]"))
    office.catalog.publish(Skill("hostile", hostile, hostile), SkillState.TRIAL, hostile, [turn.id])
    office.catalog.hold(Skill("hostile", hostile, hostile + "\nmore"), hostile)
    await office.enter()
    for path in ("/", "/turns", "/turns/turn-%22%3E%3Cscript%3E", "/turns?q=%22%3E%3Cscript%3Ealert(5)", "/skills",
                 "/turns?session=%22%3E%3Cscript%3E", "/skills/hostile", "/skills?view=%3Cscript%3E"):
        page = await office.text(path)
        seen = Seen(page)
        assert all((one.get("src") or "").startswith("/static/") for one in seen.all("script")), path
        assert not seen.all("b")
        assert all(one.get("src", "") != "x" for one in seen.all("img"))
        assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on")]
        assert "\u202e" not in page
        assert "\x1b" not in page
    assert "alert(1)" in Seen(await office.text("/skills/hostile")).text
    assert "{{ 7 * 7 }}" in Seen(await office.text("/skills/hostile")).text


async def test_forms_need_the_session_its_word_and_our_own_page(office: Office) -> None:
    cookie = await office.enter()
    word = next(one["value"] for one in Seen(await office.text("/training")).all("input") if one["name"] == "word")
    good = {"origin": office.url, "referer": f"{office.url}/training"}

    async def sent(fields: dict[str, str | None], headers: dict[str, str], path: str = "/training/now") -> int:
        async with office.http.post(path, data=fields, headers=headers, allow_redirects=False) as reply:
            return reply.status

    other_port = {"origin": office.url[:-1] + ("1" if office.url[-1] != "1" else "2")}
    assert await sent({"word": word}, other_port) == 403
    assert await sent({"word": word}, {}) == 403  # a browser says where a form comes from
    assert await sent({"word": word}, {**good, "sec-fetch-site": "same-site"}) == 403
    assert await sent({"word": "guessed"}, good) == 403
    assert await sent({}, good) == 403
    assert await sent({"word": word}, {**good, "cookie": "metaclaw=1"}) == 401
    assert await sent({"word": word}, good, "/nothing") == 404
    assert await sent({"word": word}, good, "/skills") == 404  # a page, not an action
    assert await sent({str(n): "x" for n in range(50)}, good) == 400
    assert await sent({"word": word, "more": "x" * 100_000}, good) == 413
    async with office.http.post("/training/now", json={"word": word}, headers=good) as reply:
        assert reply.status == 415
    assert "Asked for" not in await office.text("/training")
    assert await sent({"word": word}, good) == 303
    assert office.http.headers["cookie"] == cookie
    assert "Asked for" in await office.text("/training")


async def test_signing_out_ends_the_session(office: Office) -> None:
    await office.enter()
    word = next(one["value"] for one in Seen(await office.text("/")).all("input") if one["name"] == "word")
    async with office.http.post(
        "/leave", data={"word": word}, headers={"origin": office.url}, allow_redirects=False
    ) as reply:
        assert "Max-Age=0" in reply.headers["set-cookie"]
    async with office.http.get("/") as reply:  # with the old cookie
        assert reply.status == 401


async def test_only_what_is_new_is_sent_again(office: Office) -> None:
    await office.enter()
    asked = next(one["hx-get"] for one in Seen(await office.text("/turns")).all("section"))
    async with office.http.get(str(asked)) as reply:
        assert (reply.status, await reply.read()) == (204, b"")
    await keep(office.database, make_turn("Something quite new?"))
    async with office.http.get(str(asked)) as reply:
        assert "Something quite new?" in await reply.text()


async def test_old_turns_are_reached_page_by_page(office: Office) -> None:
    await office.enter()
    seen, path = set[str](), "/turns"
    for _ in range(30):
        page = Seen(await office.text(path))
        found = {one["id"] for one in page.all("a") if one.get("class") == "asked"}
        assert not found & seen
        seen |= {str(one) for one in found}
        older = [one["href"] for one in page.all("a") if one.get("id") == "older"]
        if not older:
            break
        path = str(older[0])
    assert len(seen) == office.database.read("SELECT count(*) FROM turns")[0][0]


async def test_what_is_not_there_says_so(office: Office) -> None:
    await office.enter()
    for path in ("/nothing", "/turns/turn-none", "/skills/none", "/adapters/none", "/static/0/../server.py", "/link"):
        async with office.http.get(path) as reply:
            assert reply.status == 404, path
    async with office.http.put("/") as reply:
        assert reply.status == 405


async def test_a_slow_read_holds_nobody_up_and_too_many_are_refused(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on while threads read; beyond what may wait, the next is told to come again."""
    await office.enter()
    go, working = threading.Event(), threading.Semaphore(0)

    def slow() -> dict[str, object]:
        working.release()
        assert go.wait(20)
        return {}

    monkeypatch.setattr(office.dashboard, "_rooms", dataclasses.replace(office.dashboard._rooms, gateway=slow))
    waiting = [asyncio.create_task(office.http.get("/health")) for _ in range(MOST_WAITING)]
    for _ in range(THREADS):
        await asyncio.to_thread(working.acquire)
    async with asyncio.timeout(5):
        while office.dashboard._waiting < MOST_WAITING:
            await asyncio.sleep(0)
    async with office.http.get("/skills") as reply:
        assert reply.status == 503
        assert "Try again" in await reply.text()
    go.set()
    for reply in await asyncio.gather(*waiting):
        assert reply.status == 200
        reply.release()


async def test_a_port_that_is_taken_is_not_insisted_on(
    office: Office, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = urlsplit(office.url).port
    assert taken
    async with opened(tmp_path / "other", port=taken) as other:
        port = urlsplit(other.url).port
        assert port not in (None, taken)
        await other.enter()
        assert "No turns yet" in await other.text("/turns")
    assert f"port {taken} is taken (Address already in use): it is at {port} instead" in caplog.text
