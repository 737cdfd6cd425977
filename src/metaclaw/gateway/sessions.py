"""Which conversation a request belongs to, and which of its agents sent it. Pure.

In order: the ids that a client sends (below, client by client), the tag in the path (`/s/<name>/v1/...`), and else
`prefix`: a hash of what stays the same from turn to turn. What is known of the clients is known from their public
sources and packages:

- Claude Code (2.1.86 on, headers; before, and beside them, `metadata.user_id`) keeps one id for its sub-agents and side
  calls, and since 2.1.139 names the sub-agent. Its first system block changes with every request.
- Codex sends the root's id as `session-id` and each agent's own as `thread-id`; older ones `session_id` and
  `prompt_cache_key`.
- OpenClaw sends `session_id` and `x-session-affinity` only where `compat.sendSessionAffinityHeaders` is set; else there
  is a `traceparent` with one trace id for each message of the user, sub-agents included.
- opencode gives a sub-agent a session of its own, and names its parent.
- nanobot's `x-session-affinity` is drawn once for each process, which may hold many conversations.

Where a provider keeps the conversation (Responses), a request names it, or the reply that it goes on from, and holds
only what is new: how it begins tells nothing then.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from metaclaw.dialects import responses
from metaclaw.dialects.base import Dialect, Request, object_or_empty, storable
from metaclaw.dialects.boilerplate import strip_boilerplate
from metaclaw.dialects.chat import text_of
from metaclaw.gateway.provider_ids import PREVIOUS
from metaclaw.gateway.sidecalls import side_reason
from metaclaw.types import TurnKind

ID_HEADERS = frozenset(
    "x-claude-code-session-id x-session-id x-opencode-session session_id x-session-affinity session-id thread-id"
    " x-codex-parent-thread-id".split()
)
ID_FIELDS = frozenset({"metadata", "client_metadata", "session_id", "prompt_cache_key", "conversation"})
MAX_ID = 200
CLOSE_HEADER = "x-metaclaw-close"
SYSTEM_HEAD = 200  # characters of the system text that count: agents write the date, the branch and more behind them
MOST_REMEMBERED = 8_000  # characters of a text
NUMBER = re.compile(r"\d+")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # the name goes into a header of the reply
LEGACY_CLAUDE_USER = re.compile(r"_session_([0-9a-fA-F-]{8,})$")
CONVERSATION_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|^ses_")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Recognised(NamedTuple):
    """What a request says of its place.

    `session` is a name of at most 200 characters, or empty where nobody gave one; then `prefix` is set, and
    `journal.open_sessions` finds the name. `agent` tells the agents of a session apart: "" for the main one, or where
    there is but one. `side` says why nothing is learned from the turn; "" for a main one. `closes`: the client says
    that this turn is its session's last. `follows` is the id of the reply that the request goes on from, where no name
    tells the conversation from others: if that reply is known, its session and agent count.
    """

    session: str
    agent: str
    prefix: str
    trace: str
    side: str
    closes: bool
    follows: str = ""

    @property
    def kind(self) -> TurnKind:
        return TurnKind.SIDE if self.side else TurnKind.MAIN


def recognise(headers: Mapping[str, str], dialect: Dialect, request: Request, tag: str = "") -> Recognised:
    """`tag` is the path's. Reads the texts of the request only where its headers and fields do not tell enough."""
    opens: list[tuple[str, str]] = []

    def opening() -> tuple[str, str]:
        """Read once, and only where it is asked for."""
        if not opens:
            opens.append(dialect.opening(request.body))
        return opens[0]

    session, agent, shared = _named(headers, request.body)
    session = session or tag.strip()
    is_named = bool(session) and not shared
    follows = _text(request.body.get(PREVIOUS)) if dialect.NAME == responses.NAME and not is_named else ""
    if is_named:
        prefix = ""
    else:
        prefix = _named_by("", f"\0{follows}") if follows else _prefix(dialect, request.body, *opening())
    return Recognised(
        session=_bounded(session),
        agent=prefix if shared else _bounded(agent),
        prefix="" if session else prefix,
        trace="" if session else _trace(headers.get("traceparent", "")),
        side=side_reason(headers, request, opening),
        closes=headers.get(CLOSE_HEADER, "").strip().lower() in ("1", "true", "yes"),
        follows=follows,
    )


def _named(headers: Mapping[str, str], body: Mapping[str, Any]) -> tuple[str, str, bool]:
    """Session, agent, and whether several conversations may share the session's name; empty where no id was sent."""
    if ID_FIELDS.isdisjoint(body) and ID_HEADERS.isdisjoint([name.lower() for name in headers]):
        return "", "", False  # a dozen look-ups less for whoever sends none
    if claude := _sent(headers, "x-claude-code-session-id") or _claude_user(body.get("metadata")):
        return claude, _sent(headers, "x-claude-code-agent-id"), False
    if codex := _codex(headers, body.get("client_metadata")):
        return *codex, False
    if own := _sent(headers, "x-session-id") or _sent(headers, "x-opencode-session"):
        parent = _sent(headers, "x-parent-session-id")
        return (parent, own, False) if parent else (own, "", False)
    if sent := _sent(headers, "session_id") or _text(body.get("session_id")):
        return sent, "", False
    if kept := _kept(body.get("conversation")):
        return kept, "", False
    sent = _sent(headers, "x-session-affinity") or _text(body.get("prompt_cache_key"))
    return sent, "", bool(sent) and CONVERSATION_ID.search(sent) is None


def _claude_user(metadata: Any) -> str:
    """Claude Code's `user_id`: JSON with a `session_id`, formerly `user_…_account_…_session_…`.

    Other clients put a person there, who has many conversations.
    """
    user = _text(metadata.get("user_id")) if isinstance(metadata, dict) else ""
    if user.startswith("{"):
        return _text(object_or_empty(user).get("session_id"))
    found = LEGACY_CLAUDE_USER.search(user)
    return found.group(1) if found else ""


def _codex(headers: Mapping[str, str], metadata: Any) -> tuple[str, str] | None:
    """The root's session, and the agent's own thread where it is not the root."""
    flat = metadata if isinstance(metadata, dict) else {}
    thread = _sent(headers, "thread-id") or _text(flat.get("thread_id"))
    parent = _sent(headers, "x-codex-parent-thread-id") or _text(flat.get("x-codex-parent-thread-id"))
    session = _sent(headers, "session-id") or _text(flat.get("session_id")) or parent or thread
    return (session, thread if thread != session else "") if session else None


def _kept(conversation: Any) -> str:
    """The id of a conversation that a provider keeps."""
    return _text(conversation.get("id") if isinstance(conversation, dict) else conversation)


def _prefix(dialect: Dialect, body: Mapping[str, Any], system: str, said: str) -> str:
    """A hash of how the system text begins and of the first words of the user.

    Numbers in the system text do not count, nor what agents put around the user's words. Where the first message in
    the user's name is nothing else, the first that holds words counts.
    """
    said = strip_boilerplate(said) or _first_words(dialect, body)
    named = _named_by if len(said) <= MOST_REMEMBERED else _named_by.__wrapped__
    return named(system[: 10 * SYSTEM_HEAD], said)


@lru_cache(maxsize=512)  # a conversation has the same beginning in each of its requests
def _named_by(system: str, said: str) -> str:
    head = NUMBER.sub("0", strip_boilerplate(system)[:SYSTEM_HEAD])
    return "prefix-" + hashlib.sha256(f"{head}\0{said}".encode()).hexdigest()[:20]


def _first_words(dialect: Dialect, body: Mapping[str, Any]) -> str:
    for message in dialect.conversation(body):
        if message.get("role") == "user" and (said := strip_boilerplate(text_of(message.get("content")))):
            return said
    return ""


def _trace(traceparent: str) -> str:
    """The trace id of W3C's header; empty where it is not one."""
    found = TRACEPARENT.fullmatch(traceparent.strip())
    return found.group(1) if found and found.group(1).strip("0") else ""


def _sent(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").strip()


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _bounded(name: str) -> str:
    return CONTROL.sub("?", storable(name[:MAX_ID]))
