"""Which requests are a client's own business: titles, summaries, warm-ups and the like, from which nothing is learned.

A main turn taken for a side call loses learning, a side call taken for a main turn teaches noise. So the client's own
word counts first, either way; and a text counts only where it is the agent's known instruction, at the place where that
agent puts it. What a person might well have written counts only where the request offers no tools, as such calls do.

The patterns quote a few words of each client's prompts, as its public sources and packages have them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from metaclaw.dialects.base import ASKED_TOKENS, Request
from metaclaw.dialects.boilerplate import strip_boilerplate

SIDE_HEADER = "x-metaclaw-side"
DECLARED = "declared"
HEAD = 1_500  # characters of a text in which an instruction must begin

CLAUDE_CLASSES = {"compaction": "summary", "auxiliary": "auxiliary", "side_reply": "auxiliary"}
CODEX_SUBAGENTS = {"compact": "summary", "memory_consolidation": "memory"}
CODEX_KINDS = {"compaction": "summary", "memory": "memory", "prewarm": "warm-up"}
CODEX_KIND = re.compile(r'"request_kind"\s*:\s*"(\w+)"')
CLAUDE_AT_A_TERMINAL = re.compile(r"claude-cli/\S+ \(\w+, cli[,)]")

# What the last words in the user's name begin with, in requests that may repeat the whole conversation and its tools.
INSTRUCTION = re.compile(
    r"(?P<summary>(?:CRITICAL: Respond with TEXT ONLY.*)?Your task is to create a detailed summary of"
    r" (?:this|the|the RECENT portion of the) conversation\b"
    r"|You are performing a CONTEXT CHECKPOINT COMPACTION\b"
    r"|(?:Create a new|Update the) anchored summary (?:from|below using) the conversation\b"
    r"|You are a summarization agent creating a context checkpoint\b"
    r"|Create a compact replacement checkpoint for this session\b)"
    r"|(?P<memory>You are now acting as the memory extraction subagent\b|You are running Dream\. Consolidate\b)"
    r"|(?P<suggestion>\[SUGGESTION MODE: )"
    r"|(?P<warm_up>Warmup\Z)",
    re.DOTALL,
)
# What a line of the system text begins with, in requests without tools.
ROLE = re.compile(
    r"(?P<title>You are a title generator\. You output ONLY a \w+ title\b"
    r"|(?i:(?:You will )?generate a (?:concise|short|brief)\b.{0,60}\b(?:title|kebab-case name)\b.{0,160}"
    r"\b(?:(?:this|the|a)(?: coding)? (?:session|conversation|chat|thread)|first message)\b)"
    r"|Generate a concise session title\b"
    r"|Analyze if this message indicates a new conversation topic\b)"
    r"|(?P<summary>You are a context summarization assistant\. Your task is to read a conversation\b"
    r"|You are a helpful AI assistant tasked with summarizing conversations\b"
    r"|\*Briefly\* summarize this partial conversation about programming\b)"
    r"|(?P<commit>You are an expert software engineer that generates concise, one-line Git commit messages\b)"
)
# What the first words in the user's name begin with, in requests without tools.
OPENS = re.compile(
    r"(?P<title>Generate a title for this conversation:|Generate a concise title for this chat\."
    r"|### Task:\s+Generate a concise\b.{0,60}\btitle\b.{0,40}\bchat history\b)"
    r"|(?P<auxiliary>### Task:\s+(?:Generate 1-3 broad tags|Suggest \S+ relevant follow-up)\b)"
)


Opening = Callable[[], tuple[str, str]]


def side_reason(headers: Mapping[str, str], request: Request, opening: Opening) -> str:
    """Why nothing is to be learned from this request; empty for a main turn. `opening` is asked only if need be."""
    if headers.get(SIDE_HEADER):
        return DECLARED
    told = _told(headers)
    return _seen(headers, request, opening) if told is None else told


def _told(headers: Mapping[str, str]) -> str | None:
    """What the client itself says: a reason, "" for a main turn, or None where it says nothing."""
    if said := headers.get("x-claude-code-request-class"):
        return CLAUDE_CLASSES.get(said, "")
    if reason := CODEX_SUBAGENTS.get(headers.get("x-openai-subagent", "")):
        return reason
    if headers.get("x-openai-memgen-request", "").lower() == "true":
        return "memory"
    kind = CODEX_KIND.search(headers.get("x-codex-turn-metadata", ""))
    return CODEX_KINDS.get(kind.group(1), "") if kind else None


def _seen(headers: Mapping[str, str], request: Request, opening: Opening) -> str:
    """What its texts say."""
    if found := INSTRUCTION.match(request.query[:HEAD]):
        return _reason(found)
    body = request.body
    if body.get("tools"):
        return "auxiliary" if _forced(body.get("tool_choice")) and _at_a_terminal(headers) else ""
    if any(body.get(name) == 1 for name in ASKED_TOKENS):
        return "probe"
    system, said = opening()
    if reason := _opens_a_side_call(system[:HEAD], said[:HEAD]):
        return reason
    # Claude Code at a terminal offers its tools with every turn of the conversation, and with none of its own calls.
    return "auxiliary" if _at_a_terminal(headers) else ""


@lru_cache(maxsize=512)
def _opens_a_side_call(system: str, said: str) -> str:
    """A conversation has the same beginning in each of its requests."""
    lines = (ROLE.match(line) for line in system.split("\n"))
    found = next(filter(None, lines), None) or OPENS.match(strip_boilerplate(said))
    return _reason(found) if found else ""


def _reason(found: re.Match[str]) -> str:
    return (found.lastgroup or "").replace("_", "-")


def _forced(choice: Any) -> bool:
    """Whether one named tool must be called: permission questions and searches are put so."""
    return isinstance(choice, dict) and choice.get("type") == "tool"


def _at_a_terminal(headers: Mapping[str, str]) -> bool:
    return CLAUDE_AT_A_TERMINAL.match(headers.get("user-agent", "")) is not None
