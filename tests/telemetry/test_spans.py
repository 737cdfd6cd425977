"""Turns as spans, at a real collector's door: what it gets, in whose trace, and that a request never feels it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes

from metaclaw.config.observability import TelemetrySettings
from metaclaw.config.secret import known_secrets
from metaclaw.errors import ConfigError
from metaclaw.journal.redact import Redactor
from metaclaw.telemetry import export
from metaclaw.telemetry.attributes import attributes_of
from metaclaw.telemetry.export import FULL, REFUSED, Spans
from metaclaw.telemetry.trace_context import CURRENT, Place, continued
from running_gateway import QUESTION, SKILL, Door, serving, settings_for
from support import make_turn
from upstream_server import DONE, chat_body, completion, delta, hang, streamed, whole

CLIENTS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "sk-" + "a1b2" * 8
MESSAGES = {"model": "claude-x", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}
SAID = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "Hello."}],
    "usage": {"input_tokens": 9, "output_tokens": 2, "cache_read_input_tokens": 4},
}


@dataclass
class Collector:
    url: str = ""
    status: int = 200
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: bytes = b""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.status == 200:
            self.raw += body
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append({one.key: value_of(one.value) for one in group.resource.attributes})
                for scope in group.scope_spans:
                    self.spans.extend(scope.spans)
        return web.Response(status=self.status, body=b"", content_type="application/x-protobuf")

    async def has(self, count: int) -> list[Span]:
        async with asyncio.timeout(10):
            while len(self.spans) < count:
                await asyncio.sleep(0.01)
        return self.spans


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    told = getattr(value, str(kind))
    return [value_of(one) for one in told.values] if kind == "array_value" else told


def of(span: Span) -> dict[str, Any]:
    return {one.key: value_of(one.value) for one in span.attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()


@asynccontextmanager
async def traced(
    folder: Path, formats: tuple[str, ...] = ("chat",), **telemetry: Any
) -> AsyncIterator[tuple[Door, Collector]]:
    async with collecting() as collector:
        sections = {"telemetry": {"otlp_endpoint": collector.url, **telemetry}, "upstream": {"formats": list(formats)}}
        async with serving(folder, **sections) as door:
            yield door, collector


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "GATHER_SECONDS", 0.01)


async def test_a_turn_is_a_span_in_the_clients_trace_and_the_upstreams_parent(tmp_path: Path) -> None:
    async with traced(tmp_path, headers="x-team=blue, x-key=k") as (door, collector):
        door.publish()
        body = chat_body(QUESTION, temperature=0.5, max_tokens=7, stop="END", seed=3, n=2)
        reply, _ = await door.ask(body, traceparent=CLIENTS, tracestate="a=b", x_session_id="s1")
        [span] = await collector.has(1)
        told = of(span)
        passed = door.upstream.seen[-1].headers
    assert (span.name, span.kind) == (f"chat {json.loads(body)['model']}", Span.SPAN_KIND_CLIENT)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (CLIENTS[3:35], CLIENTS[36:52])
    assert passed["traceparent"] == f"00-{CLIENTS[3:35]}-{span.span_id.hex()}-01"
    assert passed["tracestate"] == "a=b"
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 10e9
    assert span.status.code == 0
    answered = json.loads(completion("Hello."))
    assert told == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.conversation.id": "s1",
        "gen_ai.request.model": json.loads(body)["model"], "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 7, "gen_ai.request.stop_sequences": ["END"], "gen_ai.request.seed": 3,
        "gen_ai.request.choice.count": 2, "gen_ai.response.id": answered["id"],
        "gen_ai.response.model": answered["model"], "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": answered["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": answered["usage"]["completion_tokens"],
        "metaclaw.turn.id": reply.headers["x-metaclaw-turn"], "metaclaw.namespace": "default",
        "metaclaw.policy": reply.headers["x-metaclaw-policy"], "metaclaw.generation": 1,
        "metaclaw.skills": [f"{SKILL.name}@1"],
    }
    assert collector.resources[0]["service.name"] == "metaclaw"
    assert (collector.headers[0]["x-team"], collector.headers[0]["x-key"]) == ("blue", "k")
    assert QUESTION.encode() not in collector.raw


async def test_a_stream_and_another_format(tmp_path: Path) -> None:
    async with traced(tmp_path) as (door, collector):
        door.upstream.answer = streamed([delta("Hel"), delta("lo.", "stop"), DONE])
        await door.ask(chat_body(stream=True))
        [span] = await collector.has(1)
    told = of(span)
    assert told["gen_ai.request.stream"] is True
    assert 0 <= told["gen_ai.response.time_to_first_chunk"] < 10
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert span.parent_span_id == b""
    async with traced(tmp_path / "b", ("messages",)) as (door, collector):
        door.upstream.answer = whole(json.dumps(SAID).encode())
        async with door.http.post("/v1/messages", json=MESSAGES) as reply:
            assert reply.status == 200
        told = of((await collector.has(1))[0])
    assert (told["gen_ai.provider.name"], told["gen_ai.response.model"]) == ("anthropic", "claude-x-1")
    assert told["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert [told[f"gen_ai.usage.{name}"] for name in ("input_tokens", "output_tokens", "cache_read.input_tokens")] == [
        9, 2, 4
    ]


async def test_what_went_wrong_is_told(tmp_path: Path) -> None:
    async with traced(tmp_path) as (door, collector):
        door.upstream.answer = whole(b'{"error": {"message": "no"}}', status=500)
        await door.ask(chat_body())
        door.upstream.answer = hang
        door.upstream.asked.clear()
        leaving = asyncio.create_task(door.ask(chat_body()))
        await door.upstream.asked.wait()
        leaving.cancel()
        spans = await collector.has(2)
    assert [(of(span)["error.type"], span.status.code) for span in spans] == [("500", 2), ("no_reply", 2)]


async def test_content_only_when_opted_in_and_never_a_secret(tmp_path: Path) -> None:
    said = completion(f"It is {SECRET}.")
    conversation = [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": f"My key is {SECRET}, keep it."},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "found"},
    ]
    body = json.dumps({"model": "m", "messages": conversation}).encode()
    async with traced(tmp_path, content=True) as (door, collector):
        door.upstream.answer = whole(said)
        await door.ask(body)
        told = of((await collector.has(1))[0])
        assert SECRET.encode() not in collector.raw
    assert json.loads(told["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be kind."}]
    assert [one["role"] for one in json.loads(told["gen_ai.input.messages"])] == ["user", "assistant", "tool"]
    assert "[redacted:api-key]" in told["gen_ai.input.messages"]
    assert json.loads(told["gen_ai.input.messages"])[1]["parts"][-1]["name"] == "look"
    assert json.loads(told["gen_ai.input.messages"])[2]["parts"] == [
        {"type": "tool_call_response", "id": "c1", "response": "found"}
    ]
    assert "[redacted:api-key]" in told["gen_ai.output.messages"]
    async with traced(tmp_path / "off") as (door, collector):
        door.upstream.answer = whole(said)
        await door.ask(body)
        assert not [key for key in of((await collector.has(1))[0]) if "messages" in key or "instructions" in key]
        assert b"keep it" not in collector.raw


async def test_each_of_many_at_once_is_in_its_own_trace(tmp_path: Path) -> None:
    async with traced(tmp_path) as (door, collector):
        parents = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 31)]
        await asyncio.gather(*(door.ask(chat_body(), traceparent=parent, x_session_id=parent) for parent in parents))
        spans = await collector.has(30)
    found = {f"00-{span.trace_id.hex()}-{span.parent_span_id.hex()}-01": span for span in spans}
    assert set(found) == set(parents)
    assert all(of(span)["gen_ai.conversation.id"] == parent for parent, span in found.items())
    passed = {seen.headers["traceparent"] for seen in door.upstream.seen}
    assert passed == {f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01" for span in spans}


async def test_a_trace_that_nobody_keeps_is_not_sent_and_goes_on(tmp_path: Path) -> None:
    async with traced(tmp_path) as (door, collector):
        await door.ask(chat_body(), traceparent=CLIENTS[:-1] + "0")
        await door.ask(chat_body(), traceparent=CLIENTS)
        assert [of(span)["metaclaw.turn.id"] for span in await collector.has(1)] == [(await door.turns())[1].id]
        assert door.upstream.seen[0].headers["traceparent"].endswith("-00")


async def test_off_nothing_is_there_and_the_clients_trace_passes_as_it_came(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        await door.ask(chat_body(), traceparent=CLIENTS)
        assert door.upstream.seen[0].headers["traceparent"] == CLIENTS
        assert not [thread for thread in threading.enumerate() if thread.name == "telemetry"]
        async with door.http.get("/metrics") as reply:
            assert "spans" not in await reply.text()


async def metrics(door: Door) -> dict[str, float]:
    async with door.http.get("/metrics") as reply:
        found = re.findall(r'^metaclaw_spans_(\w+)(?:\{reason="(.*)"\})? (.*)$', await reply.text(), re.MULTILINE)
    return {reason or name: float(count) for name, reason, count in found}


async def test_a_collector_that_refuses_costs_spans_and_no_request(tmp_path: Path) -> None:
    async with traced(tmp_path) as (door, collector):
        collector.status = 400
        assert (await door.ask(chat_body()))[0].status == 200
        async with asyncio.timeout(10):
            while (await metrics(door)).get(REFUSED) != 1:
                await asyncio.sleep(0.01)
        collector.status = 200
        assert (await door.ask(chat_body()))[0].status == 200
        await collector.has(1)
        async with asyncio.timeout(10):
            while (await metrics(door)) != {"exported_total": 1, REFUSED: 1}:
                await asyncio.sleep(0.01)


async def test_a_collector_that_is_gone_fills_a_bounded_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MOST_WAITING", 2)
    monkeypatch.setattr(export, "LARGEST_BATCH", 1)
    monkeypatch.setattr(export, "CLOSE_SECONDS", 0.1)
    async with serving(tmp_path, telemetry={"otlp_endpoint": "http://127.0.0.1:9"}) as door:
        for _ in range(8):
            assert (await door.ask(chat_body()))[0].status == 200
        counted = await metrics(door)
        assert counted[FULL] >= 8 - 2 - 2  # two wait, one is being sent, one may have been given up
    assert not [thread for thread in threading.enumerate() if thread.name == "telemetry"]


def test_what_is_left_is_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "GATHER_SECONDS", 60.0)

    async def run() -> None:
        async with collecting() as collector:
            spans = Spans(TelemetrySettings(otlp_endpoint=collector.url), "n", "1", Redactor(), embedded=True)
            CURRENT.set(Place(1, 2, None, sampled=True))
            spans.keep(make_turn())
            await asyncio.to_thread(spans.close)
            [span] = collector.spans
            assert of(span)["gen_ai.provider.name"] == "metaclaw"
            assert spans.exported == 1

    asyncio.run(run())


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(ConfigError, match=r"metaclaw\[otel\]"):
        Spans(TelemetrySettings(otlp_endpoint="http://127.0.0.1:1"), "n", "1", Redactor(), embedded=False)


def test_the_headers_are_a_secret_that_is_masked(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "http://127.0.0.1:1/v1", telemetry={"headers": "x-key=very-secret-9"})
    assert "x-key=very-secret-9" in known_secrets(settings)


@pytest.mark.parametrize("sent", [
    "", "nonsense", CLIENTS.upper(), "ff" + CLIENTS[2:], CLIENTS + "-more", CLIENTS.replace(CLIENTS[3:35], "0" * 32),
    CLIENTS.replace(CLIENTS[36:52], "0" * 16),
])
def test_a_trace_that_cannot_be_read_is_begun_anew(sent: str) -> None:
    headers = {"traceparent": sent, "tracestate": "a=b"}
    place = continued(headers)
    assert (place.parent_id, place.sampled, "tracestate" in headers) == (None, True, False)
    assert headers["traceparent"] == place.traceparent != sent


def test_a_later_version_of_the_header_is_read_as_far_as_it_is_known() -> None:
    assert continued({"traceparent": "01" + CLIENTS[2:] + "-more"}).parent_id == int(CLIENTS[36:52], 16)


def test_every_name_is_one_of_the_conventions() -> None:
    known = {value for value in (vars(gen_ai_attributes) | vars(error_attributes)).values() if isinstance(value, str)}
    source = Path(str(export.__file__)).with_name("attributes.py").read_text("utf-8")
    named = set(re.findall(r'"((?:gen_ai|error)\.[a-z_.]+)"', source))
    assert len(named) > 20
    assert named <= known


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "model", "messages", "role", "content", "stream", "stop", "choices", "usage", "id", "delta", "message",
            "finish_reason", "tool_calls", "function", "response", "output", "input", "response_format", "n", "text",
        ]), inner, max_size=4,
    ), max_leaves=20,
)  # fmt: skip


@given(JSON, JSON, JSON, st.sampled_from(["chat", "messages", "responses"]), st.booleans())
def test_whatever_shape_a_turn_has_there_is_a_span_of_it(
    asked: Any, said: Any, usage: Any, dialect: str, streamed_reply: bool
) -> None:
    response = json.dumps(said).encode()
    turn = make_turn(
        request=json.dumps(asked).encode(), response=b"data: " + response + b"\n\n" if streamed_reply else response,
        usage=usage if isinstance(usage, dict) else {}, dialect=dialect,
    )
    for value in attributes_of(turn, embedded=False, content=True).values():
        assert isinstance(value, str | bool | int | float | list)
        if isinstance(value, list):
            assert all(isinstance(one, str) for one in value)
