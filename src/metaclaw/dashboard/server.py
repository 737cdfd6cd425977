"""The dashboard's server: what may come in, which page or action it is for, and the headers of every reply.

Runs on the learner's loop; what reads or writes the store runs in a few threads beside it, and where too many wait for
them, whoever comes next is told to try again. No page is kept by the browser, none may hold scripts or styles of its
own, and nothing is fetched from elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from metaclaw.config.addresses import url_here
from metaclaw.dashboard.access import Access, Session
from metaclaw.dashboard.render import Renderer, static_version
from metaclaw.dashboard.rooms import Asked, Done, Page, Rooms
from metaclaw.dashboard.sitemap import ACTIONS, PAGES, Act, Read
from metaclaw.errors import BodyTooLargeError, MetaClawError, RequestError, StoreError, WireError
from metaclaw.gateway.auth import Door
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Reply, Request, Response
from metaclaw.wire.server import Limits, Server

log = logging.getLogger(__name__)
T = TypeVar("T")

LIMITS = Limits(head_seconds=15.0, keep_alive_seconds=60.0, connections=64)
CLOSE_SECONDS = 2.0
THREADS, MOST_WAITING = 2, 16
MOST_FORM_BYTES, MOST_FIELDS = 64 * 1024, 20
MOST_NOTICES = 100
FORM = "application/x-www-form-urlencoded"
LINK = "/link"
KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
ON_EVERY_REPLY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
NO_SESSION = "This browser has no session, or its session is over. Run `metaclaw dashboard` for a new link."


class Dashboard:
    """Owned by the learner. `url` is where it listens."""

    def __init__(self, rooms: Rooms, token: str, version: str, host: str = "127.0.0.1") -> None:
        self._rooms = rooms
        self._token = token
        self._version = version
        self._host = host
        self._door = Door(token, host)
        self._renderer = Renderer(rooms.now)
        self._access = Access(token, "metaclaw")
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="dashboard")
        self._waiting = 0
        self._notices: OrderedDict[str, tuple[str, bool]] = OrderedDict()  # by session: what to tell, and is it good
        self._server = Server(self, LIMITS, _plain_refusal)
        self.url = ""

    async def listen(self, port: int) -> None:
        """At `port`, or at any that is free where it is taken. Raises `OSError` where there is none."""
        try:
            found = await self._server.listen(self._host, port)
        except OSError as error:
            found = await self._server.listen(self._host, 0)
            why = os.strerror(error.errno or 0)
            log.warning("the dashboard's port %d is taken (%s): it is at %d instead", port, why, found)
        self.url = url_here(self._host, found)
        self._access = Access(self._token, f"metaclaw-{found}")

    async def close(self) -> None:
        await self._server.close(CLOSE_SECONDS)
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def __call__(self, request: Request) -> Reply:
        try:
            reply = await self._answer(request)
        except RequestError as error:
            reply = await self._told(error.status, str(error))
        except StoreError as error:
            reply = await self._told(503, f"{error} Try again in a moment.")
        for name, value in ON_EVERY_REPLY.items():
            reply.headers[name] = value
        if "cache-control" not in reply.headers:
            reply.headers["cache-control"] = "no-store"
        return reply

    async def _answer(self, request: Request) -> Response:
        self._door.check_place(request.target, request.headers)
        if request.path == LINK and request.method == "POST":
            return self._new_link(request)
        if request.method in ("GET", "HEAD"):
            return await self._get(request)
        if request.method == "POST":
            return await self._post(request)
        raise RequestError(405, "method_not_allowed", "Pages are read and forms are sent here, nothing else.")

    def _new_link(self, request: Request) -> Response:
        self._door.check(request.target, request.headers)
        return Response.json({"url": f"{self.url}/enter?key={self._access.new_link()}"})

    async def _get(self, request: Request) -> Response:
        if request.path.startswith("/static/"):
            return _static(request.path)
        fields = _fields(request.query)
        if request.path == "/enter":
            return await self._enter(fields)
        session = self._session(request)
        if session is None:
            return await self._told(401, NO_SESSION)
        page, named = _matching(PAGES, request.target)
        return await self._page(page, Asked(named, fields, session))

    async def _enter(self, fields: Mapping[str, str]) -> Response:
        cookie = self._access.enter(fields.get("key", ""))
        if cookie is None:
            return await self._told(
                403, "This link was opened before, or is over five minutes old. `metaclaw dashboard` prints a new one."
            )
        return Response(status=303, headers=Headers({"location": "/", "set-cookie": cookie}))

    async def _post(self, request: Request) -> Response:
        self._refuse_other_origins(request)
        session = self._session(request)
        if session is None:
            raise RequestError(401, "no_session", NO_SESSION)
        fields = await _form(request)
        if not self._access.is_own_form(session, fields.get("word", "")):
            raise RequestError(403, "forged_form", "This form is not of your session. Load the page again.")
        if request.path == "/leave":
            return Response(status=303, headers=Headers({"location": "/", "set-cookie": self._access.leave(session)}))
        act, named = _matching(ACTIONS, request.target)
        done = await self._act(act, Asked(named, fields, session), request)
        return Response(status=303, headers=Headers({"location": quote(done.path)}))

    async def _act(self, act: Act, asked: Asked, request: Request) -> Done:
        """Do it, and keep what there is to tell for the next page. Where it cannot be done, back to where one was."""
        try:
            done, went = await self._beside(partial(act, self._rooms, asked)), True
        except StoreError:
            raise
        except MetaClawError as error:
            done, went = Done(str(error), _came_from(request)), False
        self._notices[asked.session.id] = done.told, went
        while len(self._notices) > MOST_NOTICES:
            self._notices.popitem(last=False)
        return done

    async def _page(self, read: Read, asked: Asked) -> Response:
        def made() -> tuple[bytes, int]:
            page = read(self._rooms, asked)
            if not page.template:
                return b"", 204
            return self._renderer.html(page.template, {**self._common(asked, page), **page.given}), page.status

        body, status = await self._beside(made)
        if not body:
            return Response(status=204)
        return Response(body, status, content_type="text/html; charset=utf-8")

    def _common(self, asked: Asked, page: Page) -> dict[str, Any]:
        """What every page is given. A part of a page leaves what there is to tell to the next whole one."""
        whole = not page.template.startswith("_")
        notice = self._notices.pop(asked.session.id, None) if whole else None
        return {
            "version": self._version, "namespace": self._rooms.namespace, "word": asked.session.word, "notice": notice,
            "waiting_count": len(self._rooms.catalog.waiting()) if whole else 0,
        }

    async def _told(self, status: int, text: str) -> Response:
        """A page with nothing but this sentence, which needs no session and no store."""
        body = self._renderer.html("message.html", {"status": status, "text": text})
        return Response(body, status, content_type="text/html; charset=utf-8")

    async def _beside(self, work: Callable[[], T]) -> T:
        """Run it in a thread. Raises `RequestError` (503) where too many wait for one."""
        if self._waiting >= MOST_WAITING:
            raise RequestError(503, "busy", "The dashboard has more to read than it manages. Try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def _session(self, request: Request) -> Session | None:
        return self._access.session("; ".join(request.headers.getall("cookie", [])))

    def _refuse_other_origins(self, request: Request) -> None:
        """A form comes from a page of ours: of this host and this port. The door lets other ports' pages pass."""
        origin, here = request.headers.get("origin", ""), request.headers.get("host", "")
        if urlsplit(origin).netloc != here:
            raise RequestError(403, "forbidden_origin", "Forms are taken from the dashboard's own pages only.")


def _matching(table: Mapping[re.Pattern[str], T], target: str) -> tuple[T, dict[str, str]]:
    """Whom a request is for, and what its path names. Raises `RequestError` (404)."""
    for pattern, meant in table.items():
        if found := pattern.fullmatch(target.partition("?")[0]):
            return meant, {name: unquote(value) for name, value in found.groupdict().items()}
    raise RequestError(404, "unknown_page", "There is no such page.")


def _fields(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise RequestError(400, "invalid_fields", "These are more fields than any page of ours has.") from error


async def _form(request: Request) -> dict[str, str]:
    """Raises `RequestError` for what is no form, or too large a one."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise RequestError(415, "no_form", "Forms are sent here, as application/x-www-form-urlencoded.")
    try:
        body = await request.read(MOST_FORM_BYTES)
    except BodyTooLargeError as error:
        raise RequestError(413, "form_too_large", "This form is too large.") from error
    except WireError as error:
        raise RequestError(400, "broken_form", "The form did not come whole.") from error
    return _fields(body.decode("ascii", "replace"))


def _came_from(request: Request) -> str:
    """The path of the page that the form was on, where it is one of ours; else the first one's."""
    path = urlsplit(request.headers.get("referer", "")).path
    return unquote(path) if any(page.fullmatch(path) for page in PAGES) else "/"


def _static(path: str) -> Response:
    """A file of ours. Raises `RequestError` (404)."""
    version, _, name = path.removeprefix("/static/").partition("/")
    suffix = name[name.rfind(".") :]
    if version == static_version() and suffix in KINDS and re.fullmatch(r"[a-zA-Z0-9.-]+", name):
        file = resources.files("metaclaw.dashboard").joinpath("static", name)
        if file.is_file():
            kept = Headers({"cache-control": "public, max-age=31536000, immutable"})
            return Response(file.read_bytes(), headers=kept, content_type=KINDS[suffix])
    raise RequestError(404, "unknown_file", "There is no such file.")


def _plain_refusal(status: int, code: str, text: str) -> bytes:
    return f'{{"error": {{"code": "{code}"}}}}'.encode()
