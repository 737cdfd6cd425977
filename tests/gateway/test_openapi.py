"""`openapi.json` says what the routes do: nothing more, nothing less, and nothing that breaks them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema_rs
import schemathesis
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from learned_folder import learned
from metaclaw.client import replies
from metaclaw.gateway.app import App
from running_gateway import TOKEN, Door, serving
from upstream_server import chat_body

SPEC: dict[str, Any] = json.loads(resources.files("metaclaw.gateway").joinpath("openapi.json").read_text("utf-8"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
HASTY = hypothesis.settings(
    max_examples=30, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
)


def routes(door: Door) -> set[tuple[str, str]]:
    """What the running gateway serves, aside from model APIs and from where Claude Code looks whether we are here."""
    server = door.gateway._server
    assert server
    assert isinstance(server.handler, App)
    return {(method.lower(), path) for path, methods in server.handler.own.items() for method in methods} - {
        ("head", path) for path in server.handler.own
    }


async def test_the_description_is_served_and_names_the_routes_that_there_are(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        async with door.http.get("/v1/metaclaw/openapi.json") as reply:
            assert (reply.status, await reply.json()) == (200, SPEC)
        described = {(method, path) for path, methods in SPEC["paths"].items() for method in methods}
        assert described == routes(door)


async def test_what_is_described_as_closed_is_closed(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        for path, methods in SPEC["paths"].items():
            for method, operation in methods.items():
                async with door.http.request(method, path, headers={"authorization": ""}) as reply:
                    assert reply.status == (200 if operation.get("security") == [] else 401), (method, path)


async def test_every_field_that_is_sent_is_described_and_so_is_what_the_client_reads(tmp_path: Path) -> None:
    """With something learned of each kind, so that no list is empty."""
    async with serving(tmp_path) as door:
        learned(door.home)
        async with door.http.get("/v1/metaclaw/status") as reply:
            told = await reply.json()
    assert told["skills"]
    assert told["job"]
    assert told["adapter"]["wanted"]
    schemas = SPEC["components"]["schemas"]
    described = schemas["Health"]["properties"] | schemas["Status"]["properties"]
    assert set(told) == set(described)
    for part in ("skills", "adapter", "job"):
        schema = described[part].get("items", described[part])
        jsonschema_rs.validate(described[part], told[part])
        sent = told[part][0] if part == "skills" else told[part]
        assert set(schema["properties"]) <= set(sent)
    required = {*schemas["Health"]["required"], *schemas["Status"]["required"]}
    promised = {name: value for name, value in told.items() if name in required}
    assert replies.status(promised).adapter.wanted == told["adapter"]["wanted"]


async def test_whatever_is_sent_the_replies_are_as_described(tmp_path: Path) -> None:
    """Made by schemathesis from the description, right requests and wrong ones. It is synchronous: in a thread."""
    async with serving(tmp_path) as door:
        await door.ask(chat_body(), x_session_id="s")
        await asyncio.to_thread(_try_everything, door.gateway.url)
        assert (await door.ask(chat_body()))[0].status == 200
        assert (await door.health())["lost"] == {}


def _try_everything(url: str) -> None:
    schema = schemathesis.openapi.from_dict(SPEC)
    tried = 0
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]  # the description is valid
        for mode in schemathesis.GenerationMode:

            @HASTY
            @hypothesis.given(operation.as_strategy(generation_mode=mode))
            def example(case: schemathesis.Case[Any]) -> None:
                nonlocal tried
                tried += 1
                case.call_and_validate(base_url=url, headers={"authorization": f"Bearer {TOKEN}"}, checks=CHECKS)

            with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # nothing can be wrong where nothing is sent
                example()
    assert tried > 50
