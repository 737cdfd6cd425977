"""Does a tool result say that its call failed?

A word like 'error' is not enough: logs, listings and source code are full of it. What counts is a mark of the format,
an exit code, a field of a JSON answer, or how the text begins. Tests that ran and failed are an answer, as are a search
without a hit and a difference: the call did what it was made for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from metaclaw.signals.tools import ToolResult, marked_in

MAX_WRAPPING = 6  # lines that a format may put before the output itself
MAX_HEAD, MAX_TAIL, MAX_JSON, MAX_SPAN = 4_000, 1_000, 200_000, 300

EXIT_CODE_FIELDS = ("exit_code", "exitCode", "returncode", "return_code")
EXIT_CODE = re.compile(  # 'error: ' is what the translation from Anthropic's format makes of `is_error`
    r"^(?:error: )?(?:exit code:? ?|exit_code[:=] ?|(?:process )?exited with (?:exit )?(?:code|status) |<returncode>"
    r"|\[?(?:the )?command (?:failed|finished|completed|exited) with (?:exit )?(?:code|status) )(-?\d+)",
    re.IGNORECASE | re.MULTILINE,
)
TEST_SUMMARY = re.compile(
    r"\b\d+ failed\b[^\n]*\b\d+ passed\b|\b\d+ passed\b[^\n]*\b\d+ failed\b|^FAILED \((?:failures|errors)=\d+"
    r"|^test result: FAILED|^Tests:\s+\d+ failed|^\d+ (?:examples?|tests?|specs?), \d+ failures?",
    re.MULTILINE,
)
TESTS_FAILED = (1, 101)  # pytest, jest and the like; cargo
ONE_IS_AN_ANSWER = re.compile(
    r"^\s*(?:cd [^&;|]+(?:&&|;)\s*)?(?:git )?(?:grep|egrep|rg|ag|diff|cmp|test|\[|pgrep|which)\b"
    r"|\|\s*(?:grep|egrep|rg)\b[^|]*$"
)
FAILED_STATUS = ("error", "failed", "failure", "timeout", "denied")

BEGINNINGS = (
    r"(?:\S+: )?(?:error|fatal|fehler|erreur|errore|erro|ошибка|błąd|错误|エラー|오류)(?:\[\w+\])? ?[:：] ?\S",
    r"error (?:ts\d+:|executing|calling|running|reading|writing)|npm err|e: |make(?:\[\d+\])?: \*\*\*",
    r"\S+:\d+:\d+: (?:fatal )?error:|(?:uncaught )?[\w.$]*(?:error|exception): |traceback \(most recent call last\)",
    r"(?:\S+: )+[^\n]*(?:command not found|no such file or directory|permission denied|cannot access|not found$"
    r"|is a directory)",
    r"e[a-z]{3,}: |panic: |segmentation fault|curl: \(\d+\)|permission denied\b|access denied",
    r"(?:http|request failed with status code|status code:?|http error) ?[45]\d\d\b|[45]\d\d (?:client|server) error",
    r"[^\n]{0,60}\btimed out after\b",
    r"(?:tool|command|exec_command|apply_patch verification|operation|the tool execution) (?:\S+ )?failed\b",
    r"failed to \w+|could not (?:find|resolve|open|read|connect|parse|load)|unable to \w+|cannot (?:find|open|read)",
    r"invalid (?:arguments?|parameters?|json)|unknown (?:tool|command|option)|unsupported call",
    r"missing value for required|(?:file|path|directory) does not exist|<tool_use_error>|<error>|mcp error"
    r"|sandbox error",
)
FIRST_LINE = re.compile("|".join(BEGINNINGS), re.IGNORECASE)
LAST_LINE = re.compile(
    r"make(?:\[\d+\])?: \*\*\* |error: aborting due to|npm err!|sh: \d+: \S+: not found", re.IGNORECASE
)
RAISED = re.compile(r"[\w.]+(?:Error|Exception|Interrupt)\b")
WRAPPING = re.compile(
    r"(?:chunk id|wall time|output|stdout|stderr|directory|command)\b[^\n:]*:[^\n]*\n|[ \t]*\n", re.IGNORECASE
)


def failure_in(result: ToolResult) -> str:
    """The words that say that the call failed; empty where it did not."""
    text = result.text.strip()
    fields = _object(text)
    code = _exit_code(fields) if fields is not None else _stated_exit_code(text)
    if _is_an_answer(result, text, code):
        return ""
    if fields is not None and result.marked is not True:
        return text[:MAX_SPAN] if _failed(fields, code) else ""
    if result.marked is not None:
        return (_first_line(text) or "marked as an error") if result.marked else ""
    if code is not None:
        return _first_line(text) if code else ""
    return _failure_in_text(text)


def _is_an_answer(result: ToolResult, text: str, code: int | None) -> bool:
    if TEST_SUMMARY.search(_ends(text).replace("\\n", "\n")):
        return code is None or code in TESTS_FAILED
    return code == 1 and bool(ONE_IS_AN_ANSWER.search(_command(result.arguments)))


def _command(arguments: str) -> str:
    """The shell command among a call's arguments, where there is one."""
    fields = _object(arguments) or {}
    for name in ("command", "cmd", "script"):
        value = fields.get(name)
        if isinstance(value, list):
            shell = len(value) > 2 and value[1] in ("-c", "-lc")
            value = str(value[2]) if shell else " ".join(map(str, value))
        if isinstance(value, str):
            return value[:MAX_HEAD]
    return ""


def _object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{") or len(text) > MAX_JSON:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _exit_code(fields: Mapping[str, Any]) -> int | None:
    metadata = fields.get("metadata")
    for holder in (fields, metadata if isinstance(metadata, dict) else {}):
        for name in EXIT_CODE_FIELDS:
            if isinstance(code := holder.get(name), int):
                return int(code)
    return None


def _stated_exit_code(text: str) -> int | None:
    found = EXIT_CODE.search(_ends(text))
    return int(found.group(1)) if found else None


def _failed(fields: Mapping[str, Any], code: int | None) -> bool:
    if code is not None:
        return code != 0
    marked = marked_in(fields)
    flags = [fields.get("success"), fields.get("ok"), None if marked is None else not marked]
    if any(flag is False for flag in flags):
        return True
    if any(flag is True for flag in flags):
        return False
    refused = isinstance(number := fields.get("code"), int) and number < 0 and "message" in fields  # JSON-RPC
    error = fields.get("error")
    told = error is True or (bool(error) and isinstance(error, str | dict | list))
    return refused or told or fields.get("status") in FAILED_STATUS


def _failure_in_text(text: str) -> str:
    start = 0
    for _ in range(MAX_WRAPPING):
        if found := WRAPPING.match(text, start):
            start = found.end()
    text = text[start:]
    first, last = _first_line(text), text[-MAX_TAIL:].rstrip().rpartition("\n")[2][:MAX_SPAN]
    if FIRST_LINE.match(first):
        return first
    raised = "\nTraceback (most recent call last):\n" in text[-MAX_HEAD:] and RAISED.match(last)
    return last if LAST_LINE.match(last) or raised else ""


def _ends(text: str) -> str:
    return text if len(text) <= MAX_HEAD + MAX_TAIL else f"{text[:MAX_HEAD]}\n{text[-MAX_TAIL:]}"


def _first_line(text: str) -> str:
    return text.lstrip().partition("\n")[0][:MAX_SPAN]
