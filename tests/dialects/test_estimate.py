"""An estimate that errs on the side of too many."""

from __future__ import annotations

from typing import Any

from metaclaw.dialects.estimate import FILE_TOKENS, estimated_tokens


def of(*contents: Any, **more: Any) -> int:
    return estimated_tokens({"messages": [{"role": "user", "content": content} for content in contents], **more})


def test_more_text_is_more_tokens_and_never_too_few() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 100  # 1,001 tokens or so in any usual vocabulary
    assert 1_001 <= of(text) <= 2_000
    assert of(text, text) > of(text)
    assert of("é" * 300) > of("e" * 300)


def test_an_image_counts_as_one_however_many_bytes_it_has() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    assert FILE_TOKENS <= of([image]) <= FILE_TOKENS + 50


def test_tools_and_schemas_count_and_settings_do_not() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "x": [1, True, None]}}}
    assert of("x", tools=[tool]) > of("x")
    assert of("x", response_format={"type": "json_schema"}) > of("x")
    assert of("x", model="m" * 900, temperature=0.5) == of("x")


def test_half_an_emoji_is_no_reason_to_fail() -> None:
    assert of("\ud83d") > 0
