"""What a span says of a turn, in the words of OpenTelemetry's conventions for generative AI (1.44). Pure.

In: a turn as the gateway has it, and whether what was said may be told. Out: the span's name and attributes. Request
and reply are of unknown shape: what is not as it should be is left out. Who calls this redacts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from metaclaw.dialects import chat, messages, responses, sse
from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.loose import count_of, dict_of, dicts_of, list_of, string_of
from metaclaw.dialects.reply_message import reply_message
from metaclaw.dialects.translation import DIALECTS
from metaclaw.errors import RequestError
from metaclaw.types import Message, Turn

Attributes = dict[str, Any]
EMBEDDED = "metaclaw"  # the provider's name where our own engine answers
PROVIDERS = {chat.NAME: "openai", responses.NAME: "openai", messages.NAME: "anthropic"}
NUMBERS = {  # of a request, by what each format calls it
    "temperature": "gen_ai.request.temperature", "top_p": "gen_ai.request.top_p", "top_k": "gen_ai.request.top_k",
    "frequency_penalty": "gen_ai.request.frequency_penalty", "presence_penalty": "gen_ai.request.presence_penalty",
}
COUNTS = {
    "max_tokens": "gen_ai.request.max_tokens", "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens", "seed": "gen_ai.request.seed",
}
USAGE = {
    "gen_ai.usage.input_tokens": (("prompt_tokens",), ("input_tokens",)),
    "gen_ai.usage.output_tokens": (("completion_tokens",), ("output_tokens",)),
    "gen_ai.usage.cache_read.input_tokens": (
        ("cache_read_input_tokens",), ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
    ),
    "gen_ai.usage.cache_creation.input_tokens": (("cache_creation_input_tokens",),),
    "gen_ai.usage.reasoning.output_tokens": (
        ("completion_tokens_details", "reasoning_tokens"), ("output_tokens_details", "reasoning_tokens"),
    ),
}
BROKEN_OFF, NO_REPLY = "broken_off", "no_reply"
MOST_CONTENT_BYTES = 256 * 1024


def name_of(attributes: Mapping[str, Any]) -> str:
    return " ".join(["chat", *([attributes["gen_ai.request.model"]] if "gen_ai.request.model" in attributes else [])])


def attributes_of(turn: Turn, *, embedded: bool, content: bool) -> Attributes:
    """`embedded`: our own engine answered. `content`: also what was asked and said."""
    asked = object_or_empty(turn.request)
    streams = asked.get("stream") is True
    made: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": EMBEDDED if embedded else PROVIDERS[turn.dialect],
        "gen_ai.conversation.id": turn.session,
        "metaclaw.turn.id": turn.id,
        "metaclaw.namespace": turn.namespace,
        "metaclaw.policy": turn.policy,
        "metaclaw.generation": turn.generation,
        "metaclaw.skills": list(turn.skills),
        **_request(asked, streams),
        **_reply(turn),
        **_usage(turn.usage),
    }
    for key, value in (
        ("metaclaw.agent", turn.agent), ("metaclaw.side", turn.side), ("metaclaw.skills.withheld", list(turn.withheld)),
        ("error.type", error_of(turn)),
    ):
        if value:
            made[key] = value
    if streams and turn.reply:
        made["gen_ai.response.time_to_first_chunk"] = float(turn.timings.get("first_byte_seconds", 0.0))
    return {**made, **_content(turn)} if content else made


def error_of(turn: Turn) -> str | None:
    """A status of the upstream's, or that no reply came, or that it has no end. None where all is well."""
    if turn.status >= 400:
        return str(turn.status)
    return None if turn.complete else BROKEN_OFF if turn.status else NO_REPLY


def _request(asked: Mapping[str, Any], streams: bool) -> Attributes:
    made: Attributes = {"gen_ai.request.stream": True} if streams else {}
    if model := string_of(asked.get("model")):
        made["gen_ai.request.model"] = model
    made |= {key: float(asked[name]) for name, key in NUMBERS.items() if _is_number(asked.get(name))}
    made |= {key: count for name, key in COUNTS.items() if (count := _whole(asked.get(name))) is not None}
    stop = asked.get("stop", asked.get("stop_sequences"))
    if stops := [text for text in (stop if isinstance(stop, list) else [stop]) if isinstance(text, str)]:
        made["gen_ai.request.stop_sequences"] = stops
    choices = _whole(asked.get("n"))
    if choices not in (None, 1):
        made["gen_ai.request.choice.count"] = choices
    form = dict_of(asked.get("response_format")) or dict_of(dict_of(asked.get("text")).get("format"))
    if string_of(form.get("type")).startswith("json"):
        made["gen_ai.output.type"] = "json"
    return made


def _reply(turn: Turn) -> Attributes:
    """Its id, the model that it names, and why it ended."""
    found: Attributes = {}
    reasons: list[str] = []
    for body in _bodies(turn.response):
        for part in (body, dict_of(body.get("message")), dict_of(body.get("response"))):
            for name in ("id", "model"):
                if text := string_of(part.get(name)):
                    found[f"gen_ai.response.{name}"] = text
            ended = [*dicts_of(part.get("choices")), dict_of(part.get("delta")), part]
            reasons += [why for one in ended if (why := _reason(one))]
        if turn.dialect == responses.NAME:
            told = dict_of(body.get("response")) or body
            reasons += [status for status in ("completed", "incomplete", "failed") if told.get("status") == status]
    if reasons:
        found["gen_ai.response.finish_reasons"] = list(dict.fromkeys(reasons))
    return found


def _reason(one: Mapping[str, Any]) -> str:
    return string_of(one.get("finish_reason")) or string_of(one.get("stop_reason"))


def _bodies(raw: bytes) -> Iterator[Mapping[str, Any]]:
    if whole := object_or_empty(raw):
        yield whole
        return
    for event in sse.split(raw):
        yield object_or_empty(sse.data_of(event) or b"{}")


def _usage(usage: Mapping[str, Any]) -> Attributes:
    told = {key: max(count_of(usage, *path) for path in paths) for key, paths in USAGE.items()}
    always = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens") if usage else ()
    return {key: count for key, count in told.items() if count or key in always}


def _content(turn: Turn) -> Attributes:
    """As JSON, which is how attributes carry what has a shape. Too much of it is left out whole, and said so."""
    try:
        dialect = DIALECTS[turn.dialect]
        conversation = dialect.conversation(dialect.parse(turn.request).body)
    except RequestError:
        conversation = []
    said = reply_message(turn.dialect, turn.response)
    system = [part for one in conversation if one.get("role") in ("system", "developer") for part in _texts(one)]
    made = {
        "gen_ai.system_instructions": system,
        "gen_ai.input.messages": [
            {"role": one.get("role"), "parts": _parts(one)}
            for one in conversation if one.get("role") not in ("system", "developer")
        ],
        "gen_ai.output.messages": [{"role": "assistant", "parts": _parts(said)}] if said else [],
    }
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in made.items() if value}
    if sum(len(text) for text in texts.values()) > MOST_CONTENT_BYTES:
        return {"metaclaw.content.left_out": f"more than {MOST_CONTENT_BYTES} characters"}
    return texts


def _parts(message: Mapping[str, Any] | Message) -> list[dict[str, Any]]:
    if message.get("role") == "tool":
        told = [part["content"] for part in _texts(message)]
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": "\n".join(told)}]
    calls = [
        {
            "type": "tool_call", "id": call.get("id"), "name": dict_of(call.get("function")).get("name"),
            "arguments": dict_of(call.get("function")).get("arguments"),
        }
        for call in dicts_of(message.get("tool_calls"))
    ]
    return [*_texts(message), *calls]


def _texts(message: Mapping[str, Any] | Message) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [{"type": "text", "content": string_of(part.get("text"))} for part in dicts_of(list_of(content))
            if part.get("text")]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None
