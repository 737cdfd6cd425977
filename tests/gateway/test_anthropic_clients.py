"""Anthropic's clients through the HTTP door: bytes where the upstream speaks Messages, translated where it does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from yarl import URL

from metaclaw.dialects import messages
from recorded_streams import (
    CHAT_HELLO,
    CHAT_REASONING_THEN_TOOLS,
    HELLO,
    OVERLOADED,
    THINKING_THEN_TOOLS,
    call_chunk,
    chunk,
    event,
    started,
    text_block,
)
from running_gateway import CHAT, QUESTION, SKILL, TOKEN, Door, locked, serving
from upstream_server import DONE, Taps, chat_body, completion, hang, refusing_url, streamed, whole

PATH = "/v1/messages"
ODD = b' {"model" : "m",\t"messages":[ {"role":"user","content":"\\u00e9\xc3\xa9"} ],"max_tokens":1e1,"x_new":{} }\n'
MESSAGE = json.dumps({
    "id": "msg_01", "type": "message", "role": "assistant", "model": "claude",
    "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2}, "x_new": [1.50],
}, indent=1).encode()
TOOLS: Any = [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
HI: Any = [{"role": "user", "content": "Hi"}]
ASKING: Any = {"model": "m", "max_tokens": 10, "messages": HI}


def body(text: str = "Hi", **more: Any) -> bytes:
    return json.dumps({**ASKING, "messages": [{"role": "user", "content": text}], **more}).encode()


STREAM = body(stream=True)


@pytest_asyncio.fixture
async def native(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path, upstream={"formats": ["messages"]}) as opened:
        opened.upstream.answer = whole(MESSAGE)
        yield opened


@pytest_asyncio.fixture
async def translated(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened


async def ask(door: Door, raw: bytes, path: str = PATH, **headers: str) -> tuple[ClientResponse, bytes]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with door.http.post(URL(door.gateway.url + path, encoded=True), data=raw, headers=sent) as reply:
        return reply, await reply.read()


def sdk(door: Door, key: str = TOKEN, path: str = "") -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=door.gateway.url + path, api_key=key, max_retries=0)


def error_of(raw: bytes) -> dict[str, Any]:
    """The error inside a body in Anthropic's shape; fails where the shape is another."""
    told = json.loads(raw)
    assert (set(told), told["type"]) == ({"type", "error"}, "error")
    error: dict[str, Any] = told["error"]
    assert set(error) == {"type", "message", "code"}
    return error


# -- an upstream that speaks Messages: bytes pass through --------------------------------------------------------------


async def test_the_upstream_gets_the_clients_bytes_headers_and_query(native: Door) -> None:
    path = f"{PATH}?beta=true&x=a%2Fb%20c"
    reply, got = await ask(native, ODD, path, anthropic_version="2026-10-21", anthropic_beta="a-1,b-2", x_custom="kept")
    assert (reply.status, got) == (200, MESSAGE)
    seen = native.upstream.seen[-1]
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", PATH, "beta=true&x=a%2Fb%20c", ODD)
    assert (seen.headers["anthropic-version"], seen.headers["anthropic-beta"]) == ("2026-10-21", "a-1,b-2")
    assert seen.headers["x-custom"] == "kept"
    assert TOKEN not in str(seen.headers)
    turn = await native.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.dialect, turn.request, turn.response, turn.reply) == ("messages", ODD, MESSAGE, "Hello.")
    assert (turn.complete, turn.usage) == (True, {"input_tokens": 3, "output_tokens": 2})


async def test_a_stream_passes_unchanged_whatever_the_chunks(native: Door) -> None:
    odd = b"event: x-new\r\ndata: {\"y\": 1.50}\r\n\r\n"
    sent = b"".join([*THINKING_THEN_TOOLS[:-1], odd, THINKING_THEN_TOOLS[-1]])
    native.upstream.answer = streamed([sent[i : i + 7] for i in range(0, len(sent), 7)], {"request-id": "r1"})
    reply, got = await ask(native, STREAM)
    assert (got, reply.headers["request-id"]) == (sent, "r1")
    turn = await native.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.response, turn.reply, turn.complete) == (sent, "Let me look.", True)
    assert turn.usage["cache_read_input_tokens"] == 1000


async def test_the_turn_is_kept_before_message_stop(tmp_path: Path) -> None:
    durable = {"durable_timeout_seconds": 20}
    async with serving(tmp_path, upstream={"formats": ["messages"]}, gateway=durable) as door:
        taps = Taps()
        door.upstream.answer = streamed(taps)
        async with door.http.post(PATH, data=STREAM) as reply:
            for one in HELLO[:-1]:
                taps.let_out(one)
                assert await reply.content.readuntil(b"\n\n") == one
            assert await door.turns() == []
            rest = asyncio.create_task(reply.content.readany())
            async with locked(door.store):
                taps.let_out(HELLO[-1], None)
                assert not (await asyncio.wait([rest], timeout=0.3))[0]
            assert await rest == HELLO[-1]
        assert [(turn.reply, turn.complete) for turn in await door.turns()] == [("Hello!", True)]


async def test_a_skill_goes_behind_the_cached_system_block_and_nothing_else_changes(native: Door) -> None:
    await asyncio.to_thread(native.publish)
    cached = '"system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}'
    raw = f'{{{cached}, {{"type": "text", "text": "T"}}], "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    reply, _ = await ask(native, raw.encode())
    sent = native.upstream.seen[-1].body.decode()
    assert reply.headers["x-metaclaw-skills"] == "iso-dates@1"
    block = json.loads(sent)["system"][1]
    assert SKILL.body in block["text"]
    assert sent == raw.replace(cached, f"{cached}, {json.dumps(block)}")


async def test_the_upstreams_own_errors_pass(native: Door) -> None:
    theirs = b'{"type":"error","error":{"type":"overloaded_error","message":"theirs"},"request_id":"r"}'
    native.upstream.answer = whole(theirs, 529, {"retry-after": "7"})
    reply, got = await ask(native, STREAM)
    assert (reply.status, got, reply.headers["retry-after"]) == (529, theirs, "7")


async def test_an_error_inside_a_stream_is_the_last_that_comes(native: Door) -> None:
    native.upstream.answer = streamed(OVERLOADED)
    reply, got = await ask(native, STREAM)
    assert got == b"".join(OVERLOADED)
    turn = await native.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.reply, turn.complete) == ("Hel", False)


@pytest.mark.parametrize("partial", [b"", b"event: message_st"])
async def test_a_stream_that_breaks_off_ends_with_an_error(native: Door, partial: bytes) -> None:
    native.upstream.answer = streamed([started(), *text_block(0, "half")[:2], partial], reset=True)
    _, got = await ask(native, STREAM)
    name, data = got.rstrip().rpartition(b"event: error\n")[1:]
    assert name
    assert error_of(data.removeprefix(b"data: "))["code"] == "upstream_broke_off"


# -- the official SDK, whole gateway before an upstream of its own format ----------------------------------------------


async def test_the_sdk_gets_a_whole_message(native: Door) -> None:
    async with sdk(native) as client:
        reply = await client.messages.create(**ASKING)
    assert (reply.content[0].type, reply.stop_reason, reply.usage.input_tokens) == ("text", "end_turn", 3)


async def test_the_sdk_asks_for_betas(native: Door) -> None:
    async with sdk(native) as client:
        await client.beta.messages.create(
            **ASKING, betas=["x-2026-01-01"], extra_query={"beta": "true"}
        )
    seen = native.upstream.seen[-1]
    assert (seen.query, seen.headers["anthropic-beta"]) == ("beta=true", "x-2026-01-01")


async def test_the_sdk_gets_a_stream_with_tools(native: Door) -> None:
    native.upstream.answer = streamed(THINKING_THEN_TOOLS)
    async with sdk(native) as client, client.messages.stream(**ASKING, tools=TOOLS) as stream:
        reply = await stream.get_final_message()
    assert [block.type for block in reply.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert reply.usage.cache_read_input_tokens == 1000


Raised = type[anthropic.APIStatusError]
RAISED: list[tuple[int, Raised]] = [
    (400, anthropic.BadRequestError), (401, anthropic.AuthenticationError), (403, anthropic.PermissionDeniedError),
    (404, anthropic.NotFoundError), (413, anthropic.APIStatusError), (429, anthropic.RateLimitError),
    (500, anthropic.InternalServerError), (529, anthropic.InternalServerError),
]


@pytest.mark.parametrize(("status", "raised"), RAISED)
async def test_the_sdk_maps_an_upstreams_errors(native: Door, status: int, raised: Raised) -> None:
    native.upstream.answer = whole(messages.error_body(status, "c", "theirs"), status)
    async with sdk(native) as client:
        with pytest.raises(raised, match="theirs"):
            await client.messages.create(**ASKING)


async def test_the_sdk_raises_on_an_error_inside_the_stream(native: Door) -> None:
    native.upstream.answer = streamed(OVERLOADED)
    async with sdk(native) as client:
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            async with client.messages.stream(**ASKING) as stream:
                await stream.get_final_message()


async def test_the_sdk_maps_our_own_errors(native: Door) -> None:
    async with sdk(native, key="wrong") as client:
        with pytest.raises(anthropic.AuthenticationError, match="metaclaw status"):
            await client.messages.create(**ASKING)
    async with sdk(native) as client:
        with pytest.raises(anthropic.BadRequestError, match="'messages'"):
            await client.messages.create(model="m", max_tokens=10, messages=[])


# -- the official SDK, whole gateway before an upstream of chat completions --------------------------------------------


async def test_the_sdk_gets_a_whole_message_from_chat(translated: Door) -> None:
    async with sdk(translated) as client:
        reply = await client.messages.with_raw_response.create(
            model="m", max_tokens=10, system="Be brief.", messages=HI, stop_sequences=["END"]
        )
    message = await reply.parse()
    assert (message.content[0].type, message.stop_reason, message.usage.input_tokens) == ("text", "end_turn", 3)
    seen = translated.upstream.seen[-1]
    assert (seen.path, seen.query) == (CHAT, "")
    assert json.loads(seen.body) == {
        "model": "m", "max_tokens": 10, "stop": ["END"],
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    }
    turn = await translated.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.dialect, turn.reply, turn.complete) == ("messages", "Hello.", True)
    assert json.loads(turn.request)["system"] == "Be brief."
    assert json.loads(turn.response)["type"] == "message"


async def test_a_query_of_the_clients_format_goes_no_further(translated: Door) -> None:
    await ask(translated, body(), f"{PATH}?beta=true")
    assert translated.upstream.seen[-1].query == ""


async def test_the_sdk_gets_a_stream_with_tools_from_chat(translated: Door) -> None:
    translated.upstream.answer = streamed(CHAT_REASONING_THEN_TOOLS)
    async with sdk(translated) as client, client.messages.stream(**ASKING, tools=TOOLS) as stream:
        seen = [one.type async for one in stream]
        reply = await stream.get_final_message()
    assert seen[-1] == "message_stop"
    assert [block.type for block in reply.content] == ["thinking", "text", "tool_use", "tool_use"]
    uses = [block for block in reply.content if block.type == "tool_use"]
    assert [(use.id, use.input) for use in uses] == [("call_a", {"city": "Paris"}), ("call_b", {"city": "Rome"})]
    assert (reply.stop_reason, reply.usage.input_tokens, reply.usage.cache_read_input_tokens) == ("tool_use", 20, 100)
    sent = json.loads(translated.upstream.seen[-1].body)
    assert (sent["stream_options"], sent["tools"][0]["function"]["name"]) == ({"include_usage": True}, "get_weather")
    assert [(turn.reply, turn.complete) for turn in await translated.turns()] == [("Let me look.", True)]


async def test_the_sdks_next_turn_carries_the_results(translated: Door) -> None:
    translated.upstream.answer = streamed(CHAT_REASONING_THEN_TOOLS)
    async with sdk(translated) as client:
        async with client.messages.stream(**ASKING, tools=TOOLS) as stream:
            reply = await stream.get_final_message()
        translated.upstream.answer = whole(completion("Sunny."))
        calls = [block.id for block in reply.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": name, "content": "sunny"} for name in calls]
        again: Any = [*HI, reply.to_param(), {"role": "user", "content": results}]
        await client.messages.create(model="m", max_tokens=10, messages=again, tools=TOOLS)
    _, spoken, first, second = json.loads(translated.upstream.seen[-1].body)["messages"]
    assert [call["id"] for call in spoken["tool_calls"]] == ["call_a", "call_b"]
    assert (spoken["content"], spoken["reasoning_content"]) == ("Let me look.", "Two cities, two calls.")
    assert [(one["role"], one["tool_call_id"], one["content"]) for one in (first, second)] == [
        ("tool", "call_a", "sunny"), ("tool", "call_b", "sunny"),
    ]


async def test_each_translated_event_arrives_before_the_next_is_sent(translated: Door) -> None:
    taps = Taps()
    translated.upstream.answer = streamed(taps)
    async with translated.http.post(PATH, data=STREAM) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        taps.let_out(chunk({"content": "one"}))
        async with asyncio.timeout(5):
            for kind in (b"message_start", b"content_block_start", b"content_block_delta"):
                assert kind in await reply.content.readuntil(b"\n\n")
            taps.let_out(call_chunk(0, "{", "f", "c"))
            for kind in (b"content_block_stop", b"content_block_start", b"content_block_delta"):
                assert kind in await reply.content.readuntil(b"\n\n")
            assert await translated.turns() == []
            taps.let_out(call_chunk(0, "}"), chunk({}, "tool_calls"), DONE)
            while b"message_stop" not in await reply.content.readuntil(b"\n\n"):
                pass
        assert len(await translated.turns()) == 1  # the stream is still open
        taps.let_out(None)


@pytest.mark.parametrize("end", [DONE, b"data: [DONE]\n", b""])
async def test_a_stream_that_comes_all_at_once_is_translated_in_its_order(translated: Door, end: bytes) -> None:
    translated.upstream.answer = whole(b"".join(CHAT_HELLO[:-1]) + end, content_type="text/event-stream")
    _, got = await ask(translated, STREAM)
    kinds = [line.removeprefix("event: content_block_") for line in got.decode().splitlines() if "event: " in line]
    assert kinds == ["event: message_start", "start", "delta", "delta", "stop", "event: message_delta",
                     "event: message_stop"]


@pytest.mark.parametrize(("status", "raised"), RAISED)
async def test_the_sdk_maps_the_errors_of_a_chat_upstream(translated: Door, status: int, raised: Raised) -> None:
    theirs = b'{"error": {"message": "theirs", "code": "c"}}'
    translated.upstream.answer = whole(theirs, status, {"retry-after": "7"})
    async with sdk(translated) as client:
        with pytest.raises(raised, match="theirs") as error:
            await client.messages.create(**ASKING)
    assert error.value.response.headers["retry-after"] == "7"


async def test_an_error_page_becomes_an_error_in_the_clients_format(translated: Door) -> None:
    translated.upstream.answer = whole(b"<html>busy</html>", 502, content_type="text/html")
    reply, got = await ask(translated, body())
    assert (reply.status, reply.content_type) == (502, "application/json")
    assert error_of(got)["message"] == "<html>busy</html>"


async def test_a_page_that_says_that_all_is_well_is_the_upstreams_failure(translated: Door) -> None:
    translated.upstream.answer = whole(b"<html>hello</html>", 200, content_type="text/html")
    reply, got = await ask(translated, body())
    assert (reply.status, error_of(got)["code"]) == (502, "upstream_garbage")
    assert [turn.complete for turn in await translated.turns()] == [False]


async def test_a_chat_stream_that_breaks_off_ends_with_an_error(translated: Door) -> None:
    translated.upstream.answer = streamed([chunk({"content": "half"})], reset=True)
    _, got = await ask(translated, STREAM)
    last = got.rstrip().rpartition(b"\n\n")[2]
    assert last.startswith(b"event: error\n")
    assert error_of(last.partition(b"data: ")[2])["code"] == "upstream_broke_off"
    assert [(turn.reply, turn.complete) for turn in await translated.turns()] == [("half", False)]


async def test_an_error_inside_a_chat_stream_is_the_last_that_comes(translated: Door) -> None:
    theirs = b'data: {"error": {"message": "theirs", "code": 429}}\n\n'
    translated.upstream.answer = streamed([*CHAT_HELLO[:2], theirs])
    _, got = await ask(translated, STREAM)
    assert got.count(b"event: error") == 1
    assert error_of(got.partition(b"event: error\ndata: ")[2])["type"] == "rate_limit_error"


async def test_a_skill_goes_into_the_translated_request(translated: Door) -> None:
    skill, generation = await asyncio.to_thread(translated.publish)
    reply, _ = await ask(translated, body(QUESTION, system="S"))
    system = json.loads(translated.upstream.seen[-1].body)["messages"][0]
    assert system["content"].startswith("S\n\n")
    assert SKILL.body in system["content"]
    turn = await translated.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.skills, turn.generation, turn.request) == ((skill.ref,), generation, body(QUESTION, system="S"))


async def test_what_the_upstream_cannot_be_asked_is_refused(translated: Door) -> None:
    picture = [{"type": "image", "source": {"type": "file", "file_id": "f"}}]
    reply, got = await ask(translated, json.dumps({"messages": [{"role": "user", "content": picture}]}).encode())
    assert (reply.status, error_of(got)["type"]) == (400, "invalid_request_error")
    assert error_of(got)["message"].startswith("messages[0].content[0]")
    assert translated.upstream.seen == []


# -- OpenAI's client before an upstream that speaks Messages -----------------------------------------------------------


def openai_sdk(door: Door) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN, max_retries=0)


async def test_the_openai_sdk_gets_a_whole_completion(native: Door) -> None:
    async with openai_sdk(native) as client:
        reply = await client.chat.completions.create(model="m", messages=[{"role": "system", "content": "S"}, *HI])
    assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("Hello.", "stop")
    assert reply.usage is not None
    assert reply.usage.total_tokens == 5
    seen = native.upstream.seen[-1]
    assert seen.path == PATH
    assert json.loads(seen.body) == {
        "model": "m", "max_tokens": 16_384, "system": "S",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }
    assert [(turn.dialect, turn.reply, turn.complete) for turn in await native.turns()] == [("chat", "Hello.", True)]


async def test_the_openai_sdk_gets_a_stream_with_tools(native: Door) -> None:
    native.upstream.answer = streamed(THINKING_THEN_TOOLS)
    async with openai_sdk(native) as client:
        stream = await client.chat.completions.create(
            model="m", messages=HI, stream=True, stream_options={"include_usage": True}
        )
        chunks = [one async for one in stream]
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert (text, chunks[-2].choices[0].finish_reason) == ("Let me look.", "tool_calls")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == 1035
    assert [(turn.reply, turn.complete) for turn in await native.turns()] == [("Let me look.", True)]


async def test_the_openai_sdk_maps_anthropics_errors(native: Door) -> None:
    native.upstream.answer = whole(messages.error_body(429, "c", "theirs"), 429)
    async with openai_sdk(native) as client:
        with pytest.raises(openai.RateLimitError, match="theirs"):
            await client.chat.completions.create(model="m", messages=HI)
    native.upstream.answer = streamed(OVERLOADED)
    reply, got = await ask(native, chat_body(stream=True), CHAT)
    assert (reply.status, got.count(b'"error"')) == (200, 1)


# -- errors of ours, in the client's own format ------------------------------------------------------------------------

ANTHROPIC = {"anthropic-version": "2023-06-01"}
REFUSED = [
    ("POST", PATH, {"data": b"{nope"}, 400, "invalid_request_error", "invalid_json"),
    ("POST", PATH, {"data": b'{"messages": 1}'}, 400, "invalid_request_error", "invalid_messages"),
    ("POST", f"{PATH}/nothing", {"data": b"{}"}, 404, "not_found_error", "unknown_route"),
    ("POST", "/v1/nothing", {"headers": ANTHROPIC}, 404, "not_found_error", "unknown_route"),
    ("GET", PATH, {}, 405, "invalid_request_error", "method_not_allowed"),
    ("POST", PATH, {"headers": {"authorization": "Bearer no"}}, 401, "authentication_error", "invalid_api_key"),
    ("POST", PATH, {"headers": {"origin": "https://evil.example"}}, 403, "permission_error", "forbidden_origin"),
    ("GET", "/v1/x", {"headers": {**ANTHROPIC, "authorization": ""}}, 401, "authentication_error", "invalid_api_key"),
    ("POST", f"{PATH}/count_tokens", {"data": b"{nope"}, 400, "invalid_request_error", "invalid_json"),
]


@pytest.mark.parametrize("tag", ["", "/s/agent-7"])
@pytest.mark.parametrize(("method", "path", "sent", "status", "kind", "code"), REFUSED)
async def test_what_is_refused_says_why_in_anthropics_words(
    native: Door, tag: str, method: str, path: str, sent: dict[str, Any], status: int, kind: str, code: str
) -> None:
    async with native.http.request(method, tag + path, **sent) as reply:
        error = error_of(await reply.read())
    assert (reply.status, error["type"], error["code"]) == (status, kind, code)
    assert native.upstream.seen == []
    assert await native.turns() == []


async def test_a_body_too_large_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"max_body_bytes": 1000}) as door:
        reply, got = await ask(door, body("x" * 2000))
        assert (reply.status, error_of(got)["type"]) == (413, "request_too_large")


async def test_an_upstream_that_is_down_or_hangs(tmp_path: Path) -> None:
    down = {"url": refusing_url(), "formats": ["messages"]}
    async with serving(tmp_path / "down", upstream=down) as door:
        reply, got = await ask(door, body())
        assert (reply.status, error_of(got)["type"]) == (502, "api_error")
    async with serving(tmp_path / "hangs", upstream={"idle_timeout_seconds": 0.2}) as door:
        door.upstream.answer = hang
        reply, got = await ask(door, body())
        assert (reply.status, error_of(got)["type"]) == (504, "timeout_error")


async def test_a_tag_in_the_path_names_the_session(native: Door) -> None:
    async with sdk(native, path="/s/agent-7") as client:
        await client.messages.create(**ASKING)
    assert [turn.session for turn in await native.turns()] == ["agent-7"]


async def test_events_that_nobody_knows_are_tolerated(native: Door) -> None:
    native.upstream.answer = streamed([*HELLO[:2], event("x_new", y=1), *HELLO[2:]])
    async with sdk(native) as client, client.messages.stream(**ASKING) as stream:
        assert await stream.get_final_text() == "Hello!"
