"""Responses through the whole gateway, with the official SDK: on an upstream that speaks it, and on one of chat."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from aiohttp import ClientResponse
from openai.types.responses import Response
from pydantic import BaseModel

from running_gateway import QUESTION, SKILL, TOKEN, Door, error_of, serving, stored_turns, until
from upstream_server import DONE, Taps, completion, delta, streamed, whole

RESPONSES = "/v1/responses"
NATIVE = {"formats": ["responses", "chat"]}
WEATHER: Any = {
    "type": "function", "name": "weather", "description": "d", "strict": True,
    "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False,
    },
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
}
REPLY = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [MESSAGE],
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "x_new": 1,
    "usage": {
        "input_tokens": 3, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5,
    },
}
TEXT = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
STREAM = [
    event("response.created", response={**REPLY, "status": "in_progress", "output": []}, sequence_number=0),
    event("response.output_item.added", item={**MESSAGE, "content": []}, output_index=0, sequence_number=1),
    event("response.x_new", anything=1.50),
    event("response.content_part.added", **TEXT, part={**MESSAGE["content"][0], "text": ""}, sequence_number=2),  # type: ignore[dict-item]
    event("response.output_text.delta", **TEXT, delta="Hel", sequence_number=3),
    event("response.output_text.delta", **TEXT, delta="lo.", sequence_number=4),
    event("response.output_item.done", item=MESSAGE, output_index=0, sequence_number=5),
    event("response.completed", response=REPLY, sequence_number=6),
]


@pytest_asyncio.fixture
async def native(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path, upstream=NATIVE) as opened:
        opened.upstream.answer = whole(json.dumps(REPLY).encode())
        yield opened


@pytest_asyncio.fixture
async def on_chat(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened


def sdk(door: Door, prefix: str = "") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{door.gateway.url}{prefix}/v1", api_key=TOKEN, max_retries=0)


async def ask(door: Door, **body: Any) -> tuple[ClientResponse, bytes]:
    async with door.http.post(RESPONSES, data=json.dumps({"model": "m", "input": "Hi", **body})) as reply:
        return reply, await reply.read()


def asked(door: Door) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(door.upstream.seen[-1].body)
    return body


# -- on an upstream that speaks it -------------------------------------------------------------------------------------


async def test_bytes_pass_both_ways(native: Door) -> None:
    body = b' {"model" : "m",\t"input":[ {"role":"user","content":"\\u00e9"} ],"x_new":1e2 }\n'
    async with native.http.post(RESPONSES, data=body) as reply:
        assert await reply.read() == json.dumps(REPLY).encode()
    assert (native.upstream.seen[-1].path, native.upstream.seen[-1].body) == (RESPONSES, body)
    turn = await native.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.dialect, turn.request, turn.query, turn.reply) == ("responses", body, "é", "Hello.")
    assert (turn.complete, turn.usage["total_tokens"]) == (True, 5)


async def test_a_stream_passes_unchanged_and_its_turn_is_kept_before_the_last_event(native: Door) -> None:
    taps = Taps()
    native.upstream.answer = streamed(taps)
    async with native.http.post(RESPONSES, data=b'{"input": "Hi", "stream": true}') as reply:
        for one in STREAM[:-1]:
            taps.let_out(one)
            async with asyncio.timeout(5):
                assert await reply.content.readuntil(b"\n\n") == one
        assert await native.turns() == []
        taps.let_out(STREAM[-1])
        assert await reply.content.readuntil(b"\n\n") == STREAM[-1]
        assert [(turn.reply, turn.complete) for turn in await native.turns()] == [("Hello.", True)]
        taps.let_out(DONE, None)
        assert await reply.read() == DONE


async def test_a_skill_goes_where_no_backend_minds_it(native: Door) -> None:
    await asyncio.to_thread(native.publish)
    codex = [{"role": "developer", "content": "You are Codex."}, {"role": "user", "content": QUESTION}]
    reply, _ = await ask(native, input=codex)
    assert reply.headers["x-metaclaw-skills"] == "iso-dates@1"
    assert SKILL.body in asked(native)["input"][0]["content"]
    assert (asked(native)["input"][1], "instructions" in asked(native)) == (codex[1], False)
    await ask(native, input=QUESTION, instructions="Be brief.")
    assert asked(native)["instructions"].startswith("Be brief.\n\n")
    assert (SKILL.body in asked(native)["instructions"], asked(native)["input"]) == (True, QUESTION)


async def test_the_sdk_gets_a_reply_and_a_stream(native: Door) -> None:
    async with sdk(native) as client:
        assert (await client.responses.create(model="m", input="Hi")).output_text == "Hello."
        native.upstream.answer = streamed(STREAM)
        async with client.responses.stream(model="m", input="Hi") as stream:
            told = [one.delta async for one in stream if one.type == "response.output_text.delta"]
            assert told == ["Hel", "lo."]
            assert (await stream.get_final_response()).output_text == "Hello."


@pytest.mark.parametrize("formats", [["responses"], ["chat"]])
async def test_the_sdk_raises_when_a_stream_breaks_off(tmp_path: Path, formats: list[str]) -> None:
    async with serving(tmp_path, upstream={"formats": formats}) as door, sdk(door) as client:
        door.upstream.answer = streamed(STREAM[:4] if formats == ["responses"] else [delta("half")], reset=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in await client.responses.create(model="m", input="Hi", stream=True):
                pass
        assert [turn.complete for turn in await door.turns()] == [False]


async def test_the_upstreams_own_failure_ends_the_stream(native: Door) -> None:
    last = event("response.failed", response={**REPLY, "status": "failed", "error": {"code": "x", "message": "m"}})
    native.upstream.answer = streamed([STREAM[0], last])
    _, body = await ask(native, stream=True)
    assert body == STREAM[0] + last
    assert [turn.complete for turn in await native.turns()] == [False]


@pytest.mark.parametrize("body", [{"input": 7}, {"input": ["x"]}, {"instructions": 7}])
async def test_what_cannot_be_read_is_refused(native: Door, body: dict[str, Any]) -> None:
    reply, raw = await ask(native, **body)
    assert (reply.status, error_of(raw)["type"]) == (400, "invalid_request_error")
    assert native.upstream.seen == []


# -- on an upstream of chat --------------------------------------------------------------------------------------------


async def test_the_sdk_gets_a_reply_from_chat(on_chat: Door) -> None:
    async with sdk(on_chat) as client:
        reply = await client.responses.create(model="m", input="Hi", instructions="Be brief.", max_output_tokens=5)
    assert (reply.output_text, reply.status) == ("Hello.", "completed")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (3, 2, 5)
    assert on_chat.upstream.seen[-1].path == "/v1/chat/completions"
    assert asked(on_chat)["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    (turn,) = await on_chat.turns()
    assert (turn.dialect, turn.reply, turn.complete) == ("responses", "Hello.", True)
    assert json.loads(turn.response)["object"] == "response"


async def test_the_sdk_streams_from_chat_and_the_turn_is_kept_before_the_last_event(on_chat: Door) -> None:
    taps = Taps()
    on_chat.upstream.answer = streamed(taps)
    taps.let_out(delta("Hel"), delta("lo.", "stop"))
    async with sdk(on_chat) as client, client.responses.stream(model="m", input="Hi") as stream:
        async for one in stream:
            if one.type == "response.output_text.delta" and one.delta == "lo.":
                break
        assert await on_chat.turns() == []
        taps.let_out(DONE, None)
        final = await stream.get_final_response()
        assert [turn.reply for turn in await on_chat.turns()] == ["Hello."]
    assert (final.output_text, final.status) == ("Hello.", "completed")
    assert asked(on_chat)["stream_options"] == {"include_usage": True}


async def test_the_sdk_gets_structured_output_from_chat(on_chat: Door) -> None:
    class City(BaseModel):
        name: str

    on_chat.upstream.answer = whole(completion('{"name": "Rome"}'))
    async with sdk(on_chat) as client:
        reply = await client.responses.parse(model="m", input="Hi", text_format=City)
    assert reply.output_parsed == City(name="Rome")
    assert asked(on_chat)["response_format"]["json_schema"]["name"] == "City"


def tool_deltas(*calls: tuple[str, str, str]) -> list[bytes]:
    """A stream of chat with these calls, each in two deltas, interleaved."""
    def chunk(number: int, finish: str | None = None, **call: Any) -> bytes:
        choice = {"index": 0, "delta": {"tool_calls": [{"index": number, **call}]}, "finish_reason": finish}
        return b"data: " + json.dumps({"id": "chatcmpl-1", "created": 1, "choices": [choice]}).encode() + b"\n\n"

    begun = [chunk(i, id=call_id, function={"name": name}) for i, (call_id, name, _) in enumerate(calls)]
    halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for _, _, text in calls]
    rest = [chunk(i, function={"arguments": half[part]}) for part in (0, 1) for i, half in enumerate(halves)]
    return [*begun, *rest, delta("", "tool_calls"), DONE]


async def test_a_round_of_tools_on_chat_through_the_sdk(on_chat: Door) -> None:
    patch: Any = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
    tools = [WEATHER, patch]
    on_chat.upstream.answer = streamed(
        tool_deltas(("a", "weather", '{"city": "Rome"}'), ("b", "apply_patch", '{"input": "*** Begin"}'))
    )
    async with sdk(on_chat) as client:
        async with client.responses.stream(model="m", input="Weather?", tools=tools, tool_choice="required") as stream:
            first = await stream.get_final_response()
        weather, patched = first.output
        assert weather.type == "function_call"
        assert (weather.name, weather.arguments, weather.call_id) == ("weather", '{"city": "Rome"}', "a")
        assert patched.type == "custom_tool_call"
        assert (patched.name, patched.input, patched.call_id) == ("apply_patch", "*** Begin", "b")
        on_chat.upstream.answer = whole(completion("Sunny."))
        said: list[Any] = [{"role": "user", "content": "Weather?"}, *first.output]
        said += [
            {"type": "function_call_output", "call_id": "a", "output": "sun"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": "done"},
        ]
        assert (await client.responses.create(model="m", input=said, tools=tools)).output_text == "Sunny."
    sent = asked(on_chat)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["function"]["name"] for call in sent[1]["tool_calls"]] == ["weather", "apply_patch"]
    assert [message["content"] for message in sent[2:]] == ["sun", "done"]


async def test_what_chat_keeps_not_is_refused_with_what_to_do(on_chat: Door) -> None:
    async with sdk(on_chat) as client:
        with pytest.raises(openai.BadRequestError, match="whole conversation as 'input'"):
            await client.responses.create(model="m", input="And then?", previous_response_id="resp_1")
    assert on_chat.upstream.seen == []


@pytest.mark.parametrize("status", [400, 429, 500])
async def test_errors_of_chat_arrive_as_errors(on_chat: Door, status: int) -> None:
    on_chat.upstream.answer = whole(b'{"error": {"message": "theirs", "code": "c"}}', status, {"retry-after": "17"})
    reply, raw = await ask(on_chat)
    error = json.loads(raw)["error"]
    assert (reply.status, reply.headers["retry-after"]) == (status, "17")
    assert (error["code"], error["message"]) == ("c", "theirs")
    assert [turn.complete for turn in await on_chat.turns()] == [False]


async def test_a_skill_reaches_chat_too(on_chat: Door) -> None:
    await asyncio.to_thread(on_chat.publish)
    await ask(on_chat, input=QUESTION, instructions="Be brief.")
    system, user = asked(on_chat)["messages"]
    assert system["content"].startswith("Be brief.\n\n")
    assert (SKILL.body in system["content"], user["content"]) == (True, QUESTION)


async def test_a_conversation_of_codex_is_recognised(on_chat: Door) -> None:
    reply, _ = await ask(on_chat, prompt_cache_key="thread-1")
    assert reply.headers["x-metaclaw-session"] == "thread-1"
    first, _ = await ask(on_chat, input=[{"role": "user", "content": "Hi"}])
    again, _ = await ask(on_chat, input=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}])
    assert first.headers["x-metaclaw-session"] == again.headers["x-metaclaw-session"]


async def test_a_client_that_leaves_ends_the_upstreams_work(on_chat: Door) -> None:
    taps = Taps()
    on_chat.upstream.answer = streamed(taps)
    async with on_chat.http.post(RESPONSES, data=b'{"input": "Hi", "stream": true}') as reply:
        taps.let_out(delta("half"))
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reply.content.readuntil(b"\n\n")
    await asyncio.wait_for(on_chat.upstream.left.wait(), 1)
    await until(lambda: len(stored_turns(on_chat.store)) == 1)
    assert [turn.complete for turn in await on_chat.turns()] == [False]


def test_the_scripted_reply_is_one() -> None:
    Response.model_validate({**REPLY, "usage": None})


async def test_a_conversation_that_goes_on_from_replies_is_one_session_and_no_other(native: Door) -> None:
    async def go_on(reply_id: str, **asked: Any) -> str:
        """The session's name."""
        said = {**REPLY, "id": reply_id}
        native.upstream.answer = whole(json.dumps(said).encode())
        if asked.get("stream"):
            native.upstream.answer = streamed([*STREAM[:-1], event("response.completed", response=said)])
        reply, _ = await ask(native, **asked)
        return reply.headers["x-metaclaw-session"]

    results = [{"type": "function_call_output", "call_id": "c", "output": "1"}]
    ours = [
        await go_on("a1", input="Name the file"), await go_on("a2", input="Date first", previous_response_id="a1"),
        await go_on("a3", input=results, previous_response_id="a2", stream=True),
        await go_on("a4", input="Thanks", previous_response_id="a3"),
    ]
    theirs = [await go_on("b1", input="Add them up"), await go_on("b2", input=results, previous_response_id="b1")]
    unknown = [await go_on(f"c{one}", input=results, previous_response_id=f"gone-{one}") for one in (1, 2)]
    assert len({*ours}) == len({*theirs}) == 1
    assert len({*ours, *theirs, *unknown}) == 4
