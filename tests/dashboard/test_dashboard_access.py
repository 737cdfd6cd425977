"""Links open once and for a while; sessions are signed, end, and can be left."""

from __future__ import annotations

from metaclaw.dashboard.access import LINK_SECONDS, MOST_LINKS, SESSION_SECONDS, Access


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def access(clock: Clock, token: str = "token") -> Access:  # noqa: S107 - of no door
    return Access(token, "metaclaw-1", clock)


def cookie_of(header: str) -> str:
    return header.partition(";")[0]


def test_a_link_opens_once() -> None:
    door = access(Clock())
    key = door.new_link()
    header = door.enter(key)
    assert header
    assert {part.strip() for part in header.split(";")[1:]} == {
        "Path=/", f"Max-Age={SESSION_SECONDS}", "HttpOnly", "SameSite=Strict"
    }
    assert door.session(cookie_of(header))
    assert door.enter(key) is None
    assert door.enter("") is None


def test_a_link_that_waited_too_long_opens_nothing() -> None:
    clock = Clock()
    door = access(clock)
    late, in_time = door.new_link(), door.new_link()
    clock.now += LINK_SECONDS - 1
    assert door.enter(in_time)
    clock.now += 2
    assert door.enter(late) is None


def test_many_links_do_not_pile_up() -> None:
    door = access(Clock())
    first = door.new_link()
    last = [door.new_link() for _ in range(MOST_LINKS)][-1]
    assert door.enter(first) is None
    assert door.enter(last)


def test_a_session_ends_by_itself_and_survives_a_restart() -> None:
    clock = Clock()
    door = access(clock)
    cookie = cookie_of(door.enter(door.new_link()) or "")
    before, after = door.session(cookie), access(clock).session(cookie)
    assert before == after != None  # noqa: E711 - another process knows it, too
    clock.now += SESSION_SECONDS + 1
    assert door.session(cookie) is None


def test_a_new_token_ends_all_sessions() -> None:
    clock = Clock()
    door = access(clock)
    cookie = cookie_of(door.enter(door.new_link()) or "")
    assert access(clock, "another token").session(cookie) is None


def test_what_is_not_signed_is_no_session() -> None:
    clock = Clock()
    door = access(clock)
    cookie = cookie_of(door.enter(door.new_link()) or "")
    name, _, value = cookie.partition("=")
    ends, session, signature = value.split(".")
    longer = f"{name}={int(ends) + 1}.{session}.{signature}"
    assert door.session(cookie)
    shapes = (f"{name}=", f"{name}=...", f"{name}={ends}.{session}.", f"{name}=x.y.\udcff", f"other={value}", "", "=;=")
    for forged in (longer, *shapes):
        assert door.session(forged) is None, forged


def test_leaving_ends_it_for_whoever_has_the_cookie() -> None:
    door = access(Clock())
    cookie, other = (cookie_of(door.enter(door.new_link()) or "") for _ in range(2))
    session = door.session(cookie)
    assert session
    assert "Max-Age=0" in door.leave(session)
    assert door.session(cookie) is None
    assert door.session(other)


def test_a_form_is_of_one_session_alone() -> None:
    door = access(Clock())
    one, other = (door.session(cookie_of(door.enter(door.new_link()) or "")) for _ in range(2))
    assert one
    assert other
    assert door.is_own_form(one, one.word)
    assert not door.is_own_form(one, other.word)
    assert not door.is_own_form(one, "")
