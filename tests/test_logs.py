"""A process's log, as lines for people or for machines: ids beside the message, secrets in neither."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway_process import gateway_process
from metaclaw.journal.redact import Redactor
from metaclaw.logs import JsonLines, PlainLines

CLEAN = Redactor(["provider-key-0123456789"]).text


def record(text: str, *values: Any, failed: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if failed else None
    return logging.LogRecord("metaclaw.x", logging.WARNING, "x.py", 1, text, values, info)


@pytest.mark.parametrize(("text", "values", "ids"), [
    ("turn %s was not recorded (%s)", ("turn-1", "full"), {"turn": "turn-1"}),
    ("%d of %s: code skill %s waits for %s in session %s", (1, "a", "b@2", "c", "s"), {"skill": "b@2", "session": "s"}),
    ("100%% of adapter %s, %.2f", ("lora-1", 0.5), {"adapter": "lora-1"}),
    ("the skill is late", (), {}),
])
def test_ids_stand_beside_the_message(text: str, values: tuple[Any, ...], ids: dict[str, str]) -> None:
    told = json.loads(JsonLines("gateway", CLEAN).format(record(text, *values)))
    assert told["message"] == text % values
    assert {name: told[name] for name in ("turn", "session", "skill", "adapter") if name in told} == ids
    assert (told["level"], told["process"], told["logger"]) == ("warning", "gateway", "metaclaw.x")


@pytest.mark.parametrize("formatter", [JsonLines("gateway", CLEAN), PlainLines("gateway", CLEAN)])
def test_secrets_are_masked_in_messages_ids_and_traces(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("the key is provider-key-0123456789")
    except ValueError:
        line = formatter.format(record("turn %s sent %s", "provider-key-0123456789", "sk-ant-" + "a" * 40, failed=True))
    assert "provider-key" not in line
    assert "a" * 40 not in line
    assert "Traceback" in line


def test_a_gateway_that_logs_json_says_nothing_else(tmp_path: Path) -> None:
    with gateway_process(tmp_path, "--log-format", "json") as process:
        assert process.stderr
        lines = [process.stderr.readline() for _ in range(2)]
        process.terminate()
        lines += process.stderr.readlines()
    told = [json.loads(line)["message"] for line in lines]
    assert told[0].startswith("Token: ")
    assert told[-1] == "Stopping."
