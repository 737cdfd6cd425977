"""What is asked of the gateway and what its answer means; both clients share it. Pure, but for looking the token up.

In: what a caller wants. Out: a `Call`, and of its answer a value or a `ClientError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from metaclaw.client import replies
from metaclaw.client.failures import (
    BusyError,
    ClientError,
    GarbledError,
    NotReachedError,
    NotThereError,
    RefusedError,
    TimedOutError,
    TokenError,
)
from metaclaw.client.replies import Closed, Health, Kept, Status

T = TypeVar("T")

HERE = "http://127.0.0.1:8790"
BUSY = (429, 503)
PAUSES_SECONDS = (0.2, 1.0)  # before the second try, and the third
LONGEST_PAUSE_SECONDS = 10.0  # a gateway that wants more is not waited for
TOKEN_FILE = Path("~/.metaclaw/token")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. `read` makes the value of its answer; `repeatable`: done twice is the same as done once."""

    method: str
    path: str
    read: Callable[[Mapping[str, Any]], T]
    body: bytes | None = None
    repeatable: bool = True

    def headers(self, token: str) -> dict[str, str]:
        sent = {"accept": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        return sent if self.body is None else {**sent, "content-type": "application/json"}


def feedback(
    turn_id: str | None, session: str | None, score: float | None, text: str, pattern: str | None
) -> Call[Kept]:
    """Raises `ValueError` for what no gateway would take."""
    if (turn_id is None) == (session is None):
        raise ValueError("Give either turn_id or session.")
    if score is None and not text.strip() and pattern is None:
        raise ValueError("Give at least one of score, text and pattern.")
    told: dict[str, Any] = {"turn_id": turn_id, "session": session, "score": score, "text": text}
    if pattern is not None:
        told["check"] = {"pattern": pattern}
    body = json.dumps({key: value for key, value in told.items() if value is not None}).encode()
    return Call("POST", "/v1/feedback", replies.kept, body, repeatable=False)


def close_session(session: str) -> Call[Closed]:
    return Call("POST", f"/v1/metaclaw/sessions/{quote(session, safe='')}/close", replies.closed, b"")


def status() -> Call[Status]:
    return Call("GET", "/v1/metaclaw/status", replies.status)


def health() -> Call[Health]:
    return Call("GET", "/healthz", replies.health)


def answer(call: Call[T], status_code: int, headers: Mapping[str, str], raw: bytes) -> T:
    """Raises `RefusedError` where the gateway says no, `GarbledError` where it is none that answers."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if status_code != 200:
        raise _refusal(status_code, headers, body)
    try:
        return call.read(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GarbledError(f"What answered {call.path} is no MetaClaw gateway, or one of another age.") from error


def pause_before_next_try(call: Call[Any], tries: int, failure: ClientError) -> float | None:
    """Seconds to wait before a call that failed is made again; None where it must not be, or not any more.

    What was certainly not done is always safe: no connection, and a gateway that said that it did not. What may have
    been done is repeated only if that makes no difference, so feedback that timed out is not: it would count twice.
    """
    if tries > len(PAUSES_SECONDS):
        return None
    pause = PAUSES_SECONDS[tries - 1]
    match failure:
        case BusyError(retry_after_seconds=asked):
            pause = max(pause, asked or 0.0)
            return pause if pause <= LONGEST_PAUSE_SECONDS else None
        case NotReachedError():
            return pause
        case TimedOutError() if call.repeatable:
            return pause
    return None


def known_token() -> str:
    """The token of the gateway on this machine, as its settings and data folder have it; empty where there is none."""
    if token := os.environ.get("METACLAW_GATEWAY__TOKEN"):
        return token
    folder = os.environ.get("METACLAW_DATA_DIR")
    path = Path(folder) / "token" if folder else TOKEN_FILE
    try:
        return path.expanduser().read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _refusal(status_code: int, headers: Mapping[str, str], body: Any) -> RefusedError:
    code, message = "", f"The gateway answered {status_code}."
    match body:
        case {"error": {"code": str(code), "message": str(message)}}:
            pass
    kind = RefusedError
    if status_code in (401, 403):
        kind = TokenError
    elif status_code == 404:
        kind = NotThereError
    elif status_code in BUSY:
        kind = BusyError
    try:
        wait = float(headers.get("retry-after") or "")
    except ValueError:
        wait = None
    return kind(status_code, code, message, wait)
