"""What a reader puts off, it reads as it would have at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import sse
from metaclaw.dialects.base import MAX_TEXT_CHARACTERS, ReplyReader
from metaclaw.dialects.translation import DIALECTS
from recorded_streams import (
    CHAT_HELLO,
    CHAT_INTERLEAVED,
    CHAT_REASONING_THEN_TOOLS,
    HELLO,
    OVERLOADED,
    THINKING_THEN_TOOLS,
    chunk,
)
from upstream_server import delta

STREAMS = [
    ("chat", CHAT_HELLO), ("chat", CHAT_REASONING_THEN_TOOLS),
    ("chat", [delta("no end"), b": ping\n\n", b"data: {\n\n"]),
    ("messages", HELLO), ("messages", THINKING_THEN_TOOLS), ("messages", OVERLOADED), ("messages", CHAT_HELLO),
]


@pytest.mark.parametrize(("name", "events"), STREAMS)
@given(data=st.data())
def test_put_off_or_not_it_says_the_same(name: str, events: list[bytes], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=6).map(sorted))
    at_once, later = DIALECTS[name].reader(), DIALECTS[name].reader()
    for event in events:
        at_once.event(event)
    for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
        some = b"".join(events[start:end])
        rest = later.put_off(some)
        assert some.endswith(rest)
        for event in sse.split(rest):
            later.event(event)
        assert later.done == (at_once.done and end == len(events))
    later.catch_up()
    assert facts(later) == facts(at_once)


def facts(reader: ReplyReader) -> tuple[object, ...]:
    return reader.text, reader.aside, reader.usage, reader.calls, reader.finished, reader.done


def test_what_is_said_beside_the_text_is_put_together_by_its_place() -> None:
    chat, anthropic = DIALECTS["chat"].reader(), DIALECTS["messages"].reader()
    chat.several(b"".join(CHAT_INTERLEAVED))
    for event in THINKING_THEN_TOOLS:
        anthropic.event(event)
    assert {'{"city": "Paris"}', '{"zone": "CET"}'} <= {*chat.aside.splitlines()}
    assert '{"city": "Paris"}' in anthropic.aside
    for _ in range(40):
        chat.event(chunk({"reasoning_content": "x" * 50_000}))
    assert len(chat.aside) < MAX_TEXT_CHARACTERS + 60_000


def test_a_reply_without_end_is_kept_up_to_a_bound() -> None:
    reader = DIALECTS["chat"].reader()
    for _ in range(40):
        reader.event(delta("x" * 50_000))
    assert len(reader.text) == MAX_TEXT_CHARACTERS
