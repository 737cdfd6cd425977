"""One turn's life through the HTTP door: bytes, streams, ends, and what is on disk when."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import apsw
import openai
import pytest
import pytest_asyncio
from aiohttp import ClientResponse, web

from metaclaw.dialects.reply_message import reply_message
from recorded_streams import call_chunk, chunk
from running_gateway import CHAT, QUESTION, SKILL, TOKEN, UPSTREAM_KEY, Door, error_of, locked, serving, until
from upstream_server import (
    DONE,
    Answer,
    Taps,
    chat_body,
    completion,
    delta,
    garbage,
    hang,
    refusing_url,
    short_body,
    streamed,
    whole,
)

ODD = b' {"model" : "m",\t"messages":[ {"role":"user","content":"\\u00e9\xc3\xa9", "x":1e2} ],"x_new":{"k":[]} }\n'
STREAM = chat_body("Hi", stream=True)


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened


async def event(reply: ClientResponse) -> bytes:
    async with asyncio.timeout(5):
        return await reply.content.readuntil(b"\n\n")


# -- bytes pass through ------------------------------------------------------------------------------------------------


async def test_the_upstream_gets_the_clients_bytes_and_headers(door: Door) -> None:
    await door.ask(ODD, x_custom="kept", openai_beta="assistants=v9", x_metaclaw_skills="on", cookie="a=b")
    seen = door.upstream.seen[-1]
    assert (seen.method, seen.path, seen.body) == ("POST", CHAT, ODD)
    assert (seen.headers["x-custom"], seen.headers["openai-beta"]) == ("kept", "assistants=v9")
    assert seen.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert seen.headers["host"] in door.upstream.url
    assert not [name for name in seen.headers if name.lower().startswith("x-metaclaw") or name.lower() == "cookie"]


async def test_a_reply_passes_unchanged_with_unknown_and_repeated_headers(door: Door) -> None:
    async def answer(request: object) -> object:
        reply = await whole(completion("x"), 207, {"x-request-id": "r1", "retry-after": "3"})(request)  # type: ignore[arg-type]
        reply.headers.add("x-many", "one")
        reply.headers.add("x-many", "two")
        return reply

    door.upstream.answer = answer  # type: ignore[assignment]
    reply, body = await door.ask(ODD)
    assert (reply.status, body) == (207, completion("x"))
    assert (reply.headers["x-request-id"], reply.headers["retry-after"]) == ("r1", "3")
    assert reply.headers.getall("x-many") == ["one", "two"]
    assert reply.headers.getall("content-type") == ["application/json"]


async def test_a_stream_passes_unchanged_whatever_the_chunks(door: Door) -> None:
    sent = b": hello\r\n\r\n" + delta("a") + b"event: x-new\r\ndata: {\"y\": 1.50}\r\n\r\n" + delta("b", "stop") + DONE
    pieces = [sent[i : i + 7] for i in range(0, len(sent), 7)]
    door.upstream.answer = streamed(pieces, {"x-request-id": "r2"})
    reply, body = await door.ask(STREAM)
    assert body == sent
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["x-request-id"] == "r2"
    turn = await door.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.response, turn.reply, turn.complete, turn.status) == (sent, "ab", True, 200)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_the_upstreams_own_errors_pass_with_status_and_retry_after(door: Door, status: int) -> None:
    door.upstream.answer = whole(b'{"error": {"message": "theirs", "x": 1}}', status, {"retry-after": "17"})
    reply, body = await door.ask(STREAM)
    assert (reply.status, body) == (status, b'{"error": {"message": "theirs", "x": 1}}')
    assert reply.headers["retry-after"] == "17"
    assert not (await door.turn(reply.headers["x-metaclaw-turn"])).complete


# -- streams are streams -----------------------------------------------------------------------------------------------


async def test_each_event_arrives_before_the_next_is_sent_and_the_turn_is_kept_before_done(door: Door) -> None:
    taps = Taps()
    door.upstream.answer = streamed(taps)
    async with door.http.post(CHAT, data=STREAM) as reply:
        for word in ("one", "two", "three"):
            taps.let_out(delta(word))
            assert await event(reply) == delta(word)
        assert await door.turns() == []
        taps.let_out(DONE)
        assert await event(reply) == DONE
        assert [turn.reply for turn in await door.turns()] == ["onetwothree"]  # the stream is still open
        taps.let_out(b": bye\n\n", None)
        assert await reply.read() == b": bye\n\n"
    assert len(await door.turns()) == 1
    assert (await door.health())["lost"] == {}


async def test_a_packed_stream_is_a_stream_too(door: Door) -> None:
    taps, packer = Taps(), zlib.compressobj(wbits=31)

    def packed(one: bytes) -> bytes:
        return packer.compress(one) + packer.flush(zlib.Z_SYNC_FLUSH)

    door.upstream.answer = streamed(taps, {"content-encoding": "gzip"})
    async with door.http.post(CHAT, data=STREAM) as reply:
        for word in ("one", "two"):
            taps.let_out(packed(delta(word)))
            assert await event(reply) == delta(word)
        taps.let_out(packed(delta("three") + DONE), packer.flush(), None)
        assert await reply.read() == delta("three") + DONE


@pytest.mark.parametrize("end", [DONE, b"data: [DONE]", b"data: [DONE]\n", b""])
async def test_no_end_is_seen_before_the_turn_is_kept(tmp_path: Path, end: bytes) -> None:
    async with serving(tmp_path, gateway={"durable_timeout_seconds": 20}) as door:
        taps = Taps()
        door.upstream.answer = streamed(taps)
        async with door.http.post(CHAT, data=STREAM) as reply:
            taps.let_out(delta("a", "stop"))
            await event(reply)
            rest = asyncio.create_task(reply.content.readany())
            async with locked(door.store):
                taps.let_out(end, None)
                assert not (await asyncio.wait([rest], timeout=0.3))[0]
            assert await rest == end
        assert [turn.complete for turn in await door.turns()] == [True]


async def test_no_body_is_seen_before_the_turn_is_kept(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"durable_timeout_seconds": 20}) as door:
        async with locked(door.store):
            asked = asyncio.create_task(door.ask(ODD))
            assert not (await asyncio.wait([asked], timeout=0.3))[0]
        await asked
        assert [turn.request for turn in await door.turns()] == [ODD]


@pytest.mark.parametrize("cut", range(1, len(DONE)))
async def test_done_may_be_split_anywhere(door: Door, cut: int) -> None:
    door.upstream.answer = streamed([delta("a"), DONE[:cut], DONE[cut:]])
    assert (await door.ask(STREAM))[1] == delta("a") + DONE
    assert [turn.complete for turn in await door.turns()] == [True]


# -- replies that break off --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("partial", [b"", b'data: {"choices": [{"ind'])
async def test_a_stream_that_breaks_off_ends_with_an_error(door: Door, reset: bool, partial: bytes) -> None:
    door.upstream.answer = streamed([delta("half"), partial], reset=reset)
    reply, body = await door.ask(STREAM)
    first, error, nothing = body.split(b"\n\n")
    assert first + b"\n\n" == delta("half")
    assert error_of(error.removeprefix(b"data: "))["code"] == "upstream_broke_off"
    assert nothing == b""
    turn = await door.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.reply, turn.complete) == ("half", False)


async def test_the_sdk_raises_when_a_stream_breaks_off(door: Door) -> None:
    door.upstream.answer = streamed([delta("half")], reset=True)
    async with sdk(door) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in stream:
                pass


async def test_a_finished_reply_needs_no_done(door: Door) -> None:
    door.upstream.answer = streamed([delta("all", "stop")])
    assert (await door.ask(STREAM))[1] == delta("all", "stop")
    assert [turn.complete for turn in await door.turns()] == [True]


async def test_nothing_follows_done_when_the_upstream_breaks_after_it(door: Door) -> None:
    door.upstream.answer = streamed([delta("all", "stop"), DONE], reset=True)
    assert (await door.ask(STREAM))[1] == delta("all", "stop") + DONE


async def test_an_upstream_that_hangs(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream={"idle_timeout_seconds": 0.2}) as door:
        door.upstream.answer = hang
        reply, body = await door.ask(ODD)
        assert (reply.status, error_of(body)["code"]) == (504, "upstream_timeout")
        assert "upstream.idle_timeout_seconds" in error_of(body)["message"]
        door.upstream.answer = streamed(Taps())
        reply, body = await door.ask(STREAM)
        assert error_of(body.strip().removeprefix(b"data: "))["code"] == "upstream_timeout"
        assert [(turn.status, turn.complete) for turn in await door.turns()] == [(504, False), (200, False)]


@pytest.mark.parametrize("answer", [garbage, short_body])
async def test_an_upstream_that_talks_nonsense(door: Door, answer: object) -> None:
    door.upstream.answer = answer  # type: ignore[assignment]
    reply, body = await door.ask(ODD)
    assert (reply.status, error_of(body)["code"]) == (502, "upstream_broke_off")
    assert [turn.complete for turn in await door.turns()] == [False]


async def test_an_upstream_that_is_down(tmp_path: Path) -> None:
    url = refusing_url()
    async with serving(tmp_path, upstream={"url": url}) as door:
        reply, body = await door.ask(ODD)
        assert (reply.status, error_of(body)["code"]) == (502, "upstream_unreachable")
        assert url in error_of(body)["message"]
        assert [(turn.status, turn.complete, turn.request) for turn in await door.turns()] == [(502, False, ODD)]


# -- clients that leave ------------------------------------------------------------------------------------------------


async def test_a_client_that_leaves_before_the_first_byte_ends_the_upstreams_work(door: Door) -> None:
    door.upstream.answer = hang
    asked = asyncio.create_task(door.ask(ODD))
    await door.upstream.asked.wait()
    asked.cancel()
    await asyncio.wait_for(door.upstream.left.wait(), 1)
    await one_incomplete_turn(door, "")


async def test_a_client_that_leaves_mid_stream_ends_the_upstreams_work(door: Door) -> None:
    taps = Taps()
    door.upstream.answer = streamed(taps)
    async with door.http.post(CHAT, data=STREAM) as reply:
        taps.let_out(delta("half"))
        await event(reply)
    await asyncio.wait_for(door.upstream.left.wait(), 1)
    await one_incomplete_turn(door, "half")


async def one_incomplete_turn(door: Door, text: str) -> None:
    async with asyncio.timeout(5):
        while not (turns := await door.turns()):
            await asyncio.sleep(0.01)
    assert [(turn.reply, turn.complete) for turn in turns] == [(text, False)]
    assert (await door.health())["lost"] == {}


async def test_a_client_that_leaves_while_its_turn_is_written_loses_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"durable_timeout_seconds": 20}) as door:
        async with locked(door.store):
            asked = [asyncio.create_task(door.ask(chat_body("first")))]
            await until(lambda: len(door.gateway._recorder._waiting) == 1 and door.gateway._database._queue.empty())
            asked += [asyncio.create_task(door.ask(chat_body(f"behind it {i}"))) for i in range(4)]
            await until(lambda: len(door.gateway._recorder._waiting) == 5)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            await until(lambda: door.gateway._router.in_flight() == 0)
        await door.ask(chat_body("the writer lives"))
        assert len(await door.turns()) == 6


# -- what is kept, and what is not -------------------------------------------------------------------------------------


async def test_the_reply_says_which_turn_policy_generation_and_skills(door: Door) -> None:
    reply, _ = await door.ask(ODD, x_session_id="s-1")
    turn = await door.turn(reply.headers["x-metaclaw-turn"])
    policy = f"provider:{urlsplit(door.upstream.url).netloc}/as-asked"
    assert reply.headers["x-metaclaw-policy"] == turn.policy == policy
    assert (reply.headers["x-metaclaw-generation"], turn.generation) == ("0", 0)
    assert (reply.headers["x-metaclaw-skills"], turn.skills) == ("", ())
    assert (reply.headers["x-metaclaw-session"], turn.session) == ("s-1", "s-1")
    assert (turn.kind.value, turn.reply, turn.usage["total_tokens"]) == ("main", "Hello.", 5)
    assert 0 < turn.timings["first_byte_seconds"] <= turn.timings["total_seconds"]


async def test_a_side_call_is_kept_as_one(door: Door) -> None:
    await door.ask(ODD, x_metaclaw_side="learner")
    assert [turn.kind.value for turn in await door.turns()] == ["side"]


async def test_a_published_skill_is_in_the_very_next_request(door: Door) -> None:
    question = chat_body(QUESTION, x_new=1)
    await door.ask(question)
    for body in (SKILL.body, "Dates are written like 31 January 2026, in every report."):
        skill, generation = await asyncio.to_thread(door.publish, dataclasses.replace(SKILL, body=body))
        reply, _ = await door.ask(question)
        sent = json.loads(door.upstream.seen[-1].body)
        assert body in sent["messages"][0]["content"]
        assert sent["messages"][1:] == json.loads(question)["messages"]
        assert sent["x_new"] == 1
        turn = await door.turn(reply.headers["x-metaclaw-turn"])
        assert (turn.generation, turn.skills, turn.request) == (generation, (skill.ref,), question)
        assert turn.injected == sent["messages"][0]["content"]
        assert reply.headers["x-metaclaw-skills"] == skill.ref
        assert reply.headers["x-metaclaw-generation"] == str(generation)


async def test_skills_can_be_left_out_of_a_request(door: Door) -> None:
    _, generation = await asyncio.to_thread(door.publish)
    reply, _ = await door.ask(chat_body(QUESTION), x_metaclaw_skills="OFF")
    assert door.upstream.seen[-1].body == chat_body(QUESTION)
    turn = await door.turn(reply.headers["x-metaclaw-turn"])
    assert (turn.generation, turn.skills, turn.injected) == (generation, (), "")


TOO_LONG = [
    (400, "This model's maximum context length is 8192 tokens. However, you requested 8300 tokens."),
    (400, "request (4200 tokens) exceeds the available context size (4096 tokens), try increasing it"),
    (400, "prompt is too long: 200251 tokens > 200000 maximum"),
    (400, "The input token count (1048580) exceeds the maximum number of tokens allowed (1048576)."),
    (422, "`inputs` tokens + `max_new_tokens` must be <= 4096."),
    (413, "Request Entity Too Large"),
]


def refusing(status: int, told: str, begin: bytes = b"learned-skills") -> Answer:
    """Such an error to every request that holds `begin`."""

    async def answer(request: web.Request) -> web.StreamResponse:
        refused = begin in await request.read()
        return web.json_response({"error": {"message": told}}, status=status) if refused else await fine(request)

    fine = whole(completion("Fine."))
    return answer


@pytest.mark.parametrize(("status", "told"), TOO_LONG)
async def test_what_fits_only_without_skills_goes_without_them(door: Door, status: int, told: str) -> None:
    await asyncio.to_thread(door.publish)
    door.upstream.answer = refusing(status, told)
    reply, body = await door.ask(chat_body(QUESTION, stream=True))
    assert (reply.status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "Fine.")
    assert reply.headers["x-metaclaw-skills"] == ""
    assert [seen.body == chat_body(QUESTION, stream=True) for seen in door.upstream.seen] == [False, True]
    [turn] = await door.turns()
    assert (turn.status, turn.skills, turn.injected, turn.drawn) == (200, (), "", ())


async def test_a_refusal_for_which_no_skill_is_to_blame_is_the_reply(door: Door) -> None:
    await asyncio.to_thread(door.publish)
    for status, told, asked in ((400, "No such model.", 1), (*TOO_LONG[0], 2)):
        door.upstream.answer = refusing(status, told, b"messages")
        door.upstream.seen.clear()
        reply, body = await door.ask(chat_body(QUESTION))
        assert (reply.status, json.loads(body)["error"]["message"]) == (400, told)
        assert len(door.upstream.seen) == asked


async def test_half_an_emoji_is_answered_and_kept(door: Door) -> None:
    await asyncio.to_thread(door.publish)
    body = b'{"messages": [{"role": "user", "content": "Write dates the ISO way in every report \\ud83d"}]}'
    reply, _ = await door.ask(body)
    assert (reply.status, reply.headers["x-metaclaw-skills"]) == (200, "iso-dates@1")
    assert len(await door.turns()) == 1


async def test_secrets_never_reach_the_disk(door: Door) -> None:
    secret = "sk-proj-" + "Zq7Rt5Yw" * 5
    door.upstream.answer = whole(completion(f"your key is {secret} and {UPSTREAM_KEY}"))
    _, body = await door.ask(chat_body(f"my key is {secret} and I use {TOKEN}"))
    assert secret.encode() in body
    assert secret.encode() in door.upstream.seen[-1].body
    await feedback(door, f"never say {secret}")
    door.upstream.answer = streamed([delta(f"it is {secret}", "stop"), DONE])
    await door.ask(chat_body(f"again {secret}", stream=True))
    assert len(await door.turns()) == 2
    files = [path for path in door.home.rglob("*") if path.is_file() and path.name != "token"]
    assert {path.name for path in files} >= {"metaclaw.db", "metaclaw.db-wal"}
    for path in files:
        raw = path.read_bytes()
        assert not [name for name in (secret, TOKEN, UPSTREAM_KEY) if name.encode() in raw], path


@pytest.mark.parametrize(("path", "asked"), [
    (CHAT, {"messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}),
    ("/v1/responses", {"input": "Hi"}),
])
async def test_secrets_that_are_streamed_in_pieces_never_reach_the_disk(
    door: Door, path: str, asked: dict[str, object]
) -> None:
    secrets = ["sk-proj-" + one * 6 for one in ("Zq7Rt5", "Lm9Xc2", "Vb4Nh8")]
    thought, said, called = ([one[at : at + 6] for at in range(0, len(one), 6)] for one in secrets)
    door.upstream.answer = streamed([
        *(chunk({"reasoning_content": piece}) for piece in ["Use ", *thought, " now."]),
        *(chunk({"content": piece}) for piece in ["Use ", *said, " now."]),
        call_chunk(0, "", "look", "c1"), *(call_chunk(0, piece) for piece in ['{"at": "', *called, '"}']),
        chunk({}, "tool_calls"), DONE,
    ])
    async with door.http.post(path, json={**asked, "model": "m", "stream": True}) as reply:
        assert called[1].encode() in await reply.read()
    [turn] = await door.turns()
    assert not [piece for piece in (*thought[1:], *said[1:], *called[1:]) if piece.encode() in turn.response]
    call = {"name": "look", "arguments": '{"at": "[redacted:api-key]"}'}
    assert reply_message(turn.dialect, turn.response) == {
        "role": "assistant", "content": "Use [redacted:api-key] now.",
        "tool_calls": [{"id": "c1", "type": "function", "function": call}],
    }


async def feedback(door: Door, text: str) -> None:
    turn_id = (await door.turns())[-1].id
    async with door.http.post("/v1/feedback", json={"turn_id": turn_id, "text": text}) as reply:
        assert reply.status == 200


# -- the reply never depends on learning -------------------------------------------------------------------------------


async def test_a_locked_store_delays_no_reply_beyond_its_bound_and_the_loss_is_counted(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"durable_timeout_seconds": 0.5}) as door:
        await door.ask(ODD)
        async with locked(door.store):
            began = time.perf_counter()
            door.upstream.answer = streamed([delta("a"), DONE])
            (_, streamed_body), (_, other) = await asyncio.gather(door.ask(STREAM), door.ask(STREAM))
            assert time.perf_counter() - began < 2
            assert streamed_body == other == delta("a") + DONE
            assert (await door.health())["lost"] == {"turn: store too slow": 2}
        async with asyncio.timeout(10):  # the two come through first: what is asked meanwhile would queue behind them
            while (await door.health())["late"] < 2:
                await asyncio.sleep(0.01)
        reply, _ = await door.ask(ODD)
        assert await door.turn(reply.headers["x-metaclaw-turn"])
        health = await door.health()
        assert (health["lost"], health["late"], len(await door.turns())) == ({}, 2, 4)


async def test_a_corrupt_library_costs_the_skills_and_nothing_else(door: Door) -> None:
    await asyncio.to_thread(door.publish)
    by_another(door, "DROP TABLE skills; UPDATE generations SET generation = generation + 1")
    reply, body = await door.ask(chat_body(QUESTION))
    assert (reply.status, body) == (200, completion("Hello."))
    assert door.upstream.seen[-1].body == chat_body(QUESTION)
    assert (await door.health())["lost"] == {"context: StoreError": 1}
    assert len(await door.turns()) == 1


async def test_an_index_that_fails_costs_the_skills_and_nothing_else(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("an index of another shape")

    await asyncio.to_thread(door.publish)
    monkeypatch.setattr("metaclaw.context.retrieve.SkillIndex.rank", broken)
    reply, body = await door.ask(chat_body(QUESTION))
    assert (reply.status, body) == (200, completion("Hello."))
    assert door.upstream.seen[-1].body == chat_body(QUESTION)
    assert (await door.health())["lost"] == {"context: ValueError": 1}


async def test_a_store_without_its_table_loses_turns_and_counts_them(door: Door) -> None:
    by_another(door, "PRAGMA foreign_keys=OFF; DROP TABLE turns")
    reply, _ = await door.ask(ODD)
    assert reply.status == 200
    assert (await door.health())["lost"] == {"turn: StoreError": 1}


def by_another(door: Door, sql: str) -> None:
    with contextlib.closing(apsw.Connection(str(door.store))) as connection:
        connection.execute(sql)


# -- the official SDK --------------------------------------------------------------------------------------------------


def sdk(door: Door, key: str = TOKEN) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=key, max_retries=0)


async def test_the_sdk_gets_a_whole_completion(door: Door) -> None:
    async with sdk(door) as client:
        reply = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert reply.choices[0].message.content == "Hello."
    assert reply.usage is not None
    assert reply.usage.total_tokens == 5


async def test_the_sdk_gets_a_stream(door: Door) -> None:
    door.upstream.answer = streamed([delta("Hel"), delta("lo", "stop"), DONE])
    async with sdk(door) as client:
        stream = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "Hello"


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_the_sdk_maps_the_upstreams_errors(door: Door, status: int, raised: type[openai.APIStatusError]) -> None:
    door.upstream.answer = whole(b'{"error": {"message": "theirs", "code": "c"}}', status)
    async with sdk(door) as client:
        with pytest.raises(raised, match="theirs"):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])


async def test_the_sdk_maps_our_own_errors(door: Door) -> None:
    async with sdk(door, key="wrong") as client:
        with pytest.raises(openai.AuthenticationError, match="metaclaw status"):
            await client.models.list()
    async with sdk(door) as client:
        with pytest.raises(openai.BadRequestError, match="'messages'"):
            await client.chat.completions.create(model="m", messages=[])
