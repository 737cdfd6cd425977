"""Lists of models, for clients of either kind."""

from __future__ import annotations

import json

import pytest

from metaclaw.dialects.model_lists import listed, single

OPENAI = b'{"object": "list", "data": [{"id": "a", "object": "model", "created": 1769817600, "x_new": 1.50}]}'
ROUTED = b'{"data": [{"id": "org/a", "name": "Org: A", "created": 0}, {"id": "b", "created": "soon"}]}'
ANTHROPIC = (
    b'{"data": [{"type": "model", "id": "claude", "display_name": "Claude", "created_at": "2026-01-31T00:00:00Z"}],'
    b' "has_more": false, "first_id": "claude", "last_id": "claude"}'
)


@pytest.mark.parametrize(("raw", "for_anthropic"), [(OPENAI, False), (ROUTED, False), (ANTHROPIC, True)])
def test_what_has_the_wanted_shape_stays_as_it_is(raw: bytes, for_anthropic: bool) -> None:
    assert listed(raw, for_anthropic=for_anthropic) is raw


def test_openais_models_for_an_anthropic_client() -> None:
    assert json.loads(listed(OPENAI, for_anthropic=True)) == {
        "data": [{"type": "model", "id": "a", "display_name": "a", "created_at": "2026-01-31T00:00:00Z"}],
        "has_more": False, "first_id": "a", "last_id": "a",
    }
    routed = json.loads(listed(ROUTED, for_anthropic=True))
    assert [(model["display_name"], model["created_at"]) for model in routed["data"]] == [
        ("Org: A", "1970-01-01T00:00:00Z"), ("b", "1970-01-01T00:00:00Z"),
    ]
    assert (routed["first_id"], routed["last_id"]) == ("org/a", "b")


def test_anthropics_models_for_an_openai_client() -> None:
    assert json.loads(listed(ANTHROPIC, for_anthropic=False)) == {
        "object": "list",
        "data": [{"id": "claude", "object": "model", "created": 1769817600, "owned_by": "anthropic"}],
    }
    undated = b'{"data": [{"type": "model", "id": "a", "created_at": "soon"}]}'
    assert json.loads(listed(undated, for_anthropic=False))["data"][0]["created"] == 0


def test_one_model() -> None:
    ours = b'{"id": "a", "object": "model", "created": 1769817600}'
    assert single(ours, for_anthropic=False) is ours
    theirs = single(ours, for_anthropic=True)
    assert json.loads(theirs)["type"] == "model"
    assert single(theirs, for_anthropic=True) is theirs
    assert json.loads(single(theirs, for_anthropic=False))["created"] == 1769817600


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b'{"data": 3}', b'{"data": [1]}', b'{"data": []}'])
def test_what_is_no_list_stays_as_it_is(raw: bytes) -> None:
    for for_anthropic in (True, False):
        assert listed(raw, for_anthropic=for_anthropic) is raw
        assert single(raw, for_anthropic=for_anthropic) is raw
