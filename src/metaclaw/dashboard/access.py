"""Who may use the dashboard: whoever came by a one-time link, for a week, with a cookie.

A link is asked for with the gateway's token (`metaclaw dashboard` does) and opens once. The cookie is signed with a key
made of that token: it outlives a restart of the learner, and a new token ends it. Each form carries a word of its
session's own (against forged posts), beside what the door says of the page that it came from.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

LINK_SECONDS = 300.0
SESSION_SECONDS = 7 * 24 * 3600
MOST_LINKS = 20  # that wait to be opened; asking for more makes the oldest useless
MOST_LEFT = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """`id` is random and says nothing of whose it is; `word` is what its forms must carry."""

    id: str
    word: str


class Access:
    """Used on the event loop alone. `cookie` is the cookie's name: cookies do not tell ports apart, names do."""

    def __init__(self, token: str, cookie: str, clock: Callable[[], float] = time.time) -> None:
        self._key = hmac.digest(token.encode(), b"metaclaw dashboard", "sha256")
        self._cookie = cookie
        self._clock = clock
        self._links: OrderedDict[str, float] = OrderedDict()  # by key, until when
        self._left: OrderedDict[str, None] = OrderedDict()  # the sessions that signed out

    def new_link(self) -> str:
        """A key that `enter` takes once, within five minutes."""
        key = secrets.token_urlsafe(24)
        self._links[key] = self._clock() + LINK_SECONDS
        while len(self._links) > MOST_LINKS:
            self._links.popitem(last=False)
        return key

    def enter(self, key: str) -> str | None:
        """The header that makes the browser's session, for a link that is good; it is good no more."""
        until = self._links.pop(key, 0.0)
        if until < self._clock():
            return None
        name, ends = secrets.token_urlsafe(16), int(self._clock()) + SESSION_SECONDS
        value = f"{ends}.{name}.{self._signed(f'session {ends} {name}')}"
        return f"{self._cookie}={value}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict"

    def session(self, cookies: str) -> Session | None:
        """Whose request it is, by its Cookie header."""
        ends, _, rest = _named(cookies, self._cookie).partition(".")
        name, _, signature = rest.partition(".")
        if not _same(signature, self._signed(f"session {ends} {name}")) or name in self._left:
            return None
        return Session(name, self._signed(f"form {name}")) if int(ends) > self._clock() else None

    def leave(self, session: Session) -> str:
        """The header that ends the session in the browser; it is refused from here on too."""
        self._left[session.id] = None
        while len(self._left) > MOST_LEFT:
            self._left.popitem(last=False)
        return f"{self._cookie}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"

    def is_own_form(self, session: Session, word: str) -> bool:
        return _same(word, session.word)

    def _signed(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), wanted.encode())


def _named(cookies: str, name: str) -> str:
    try:
        found = SimpleCookie(cookies).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
