"""The words of MetaClaw. Each means one thing everywhere; all are immutable values.

Turn -> Signal -> Trajectory is what happened; Skill, Adapter and Verdict are what was learned from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict


class Message(TypedDict, total=False):
    """One chat message of the OpenAI shape; unknown keys are kept."""

    role: str
    content: Any


class TurnKind(StrEnum):
    MAIN = "main"
    SIDE = "side"  # title calls, probes, measurements: answered and kept, never learned from


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a code skill that the gateway ran: `skill` is name@version, `arguments` what the model wrote.

    `result` is what the model was told; where not `ok`, what went wrong.
    """

    skill: str
    arguments: str
    result: str
    ok: bool
    milliseconds: float


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The code skills that a turn offered to its model, as name@version, and the calls of them that were run."""

    offered: tuple[str, ...]
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One request and its reply. `request` and `response` are the native bytes, secrets redacted.

    `generation` and `policy` are written when the turn is sampled and never change: promise 4 rests on them.
    `created_at` is in seconds since the epoch. `position` orders turns of one store; 0 before it is stored. `agent`
    tells the agents of a session apart, "" for the main one; `side` says why a side call is one. `skills` are those
    injected as text and those of `tools` that were called. `drawn` are the skills that matched and took part in the
    hold-out, of which `holdout_share` lose by chance; `withheld` are those that did. `sampled` is kept beside the turn,
    and is None for one that was read back. `aside` is what a streamed reply said beside `reply`, and is not kept.
    """

    id: str
    namespace: str
    session: str
    kind: TurnKind
    dialect: str
    request: bytes
    response: bytes
    query: str
    reply: str
    status: int
    complete: bool
    skills: tuple[str, ...]
    injected: str
    generation: int
    policy: str
    usage: Mapping[str, Any]
    timings: Mapping[str, float]
    created_at: float
    position: int = 0
    agent: str = ""
    side: str = ""
    tools: ToolUse | None = None
    drawn: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    holdout_share: float = 0.0
    sampled: Sampled | None = None
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Sampled:
    """The tokens of a reply as the engine sampled them, and the log-probability of each when it was sampled."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.tokens or len(self.tokens) != len(self.logprobs):
            raise ValueError("what was sampled has one log-probability for each of its tokens, and at least one")


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation of one agent and its sub-agents: its name, and when it opened, spoke last and closed."""

    name: str
    opened_at: float
    last_at: float
    closed_at: float


@dataclass(frozen=True, slots=True)
class Check:
    """A deterministic test of a reply: the regular expression must match all of it, outer blanks and fence aside."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a client said of a turn: `score` in [-1, 1] or None, free `text`, and a `check` if it has one."""

    id: str
    namespace: str
    turn_id: str
    score: float | None
    text: str
    check: Check | None
    created_at: float
    position: int = 0


@dataclass(frozen=True, slots=True)
class Signal:
    """Evidence about a turn. `value` in [-1, 1], or None where the source abstains."""

    turn_id: str
    source: str
    value: float | None
    reason: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A session's turns in order, with the feedback that came on each."""

    session: str
    turns: Sequence[Turn]
    feedback: Mapping[str, Sequence[Feedback]] = field(default_factory=dict)


class SkillState(StrEnum):
    CANDIDATE = "candidate"
    TRIAL = "trial"
    ACTIVE = "active"
    RETIRED = "retired"


LIVE_STATES = (SkillState.TRIAL, SkillState.ACTIVE)


class SkillKind(StrEnum):
    INSTRUCTION = "instruction"  # text that is injected
    CODE = "code"  # a function that is offered as a tool; the text says when to call it


@dataclass(frozen=True, slots=True)
class Skill:
    """What SKILL.md says, plus where it stands. `version` counts from 1.

    `files` are the others in the skill's folder, as (path below it with /, text), ordered by path: a code skill's
    `scripts/`. `cues` are requests in which its rule was asked for, as (turn id, text): it is found by them, and no
    model is shown them.
    """

    name: str
    description: str
    body: str
    version: int = 1
    state: SkillState = SkillState.CANDIDATE
    origin: str = "extractive"
    kind: SkillKind = SkillKind.INSTRUCTION
    files: tuple[tuple[str, str], ...] = ()
    cues: tuple[tuple[str, str], ...] = ()

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A comparison of a candidate with a baseline on `n` pairs.

    `effect` is the mean difference in success (candidate minus baseline); `confidence` is one minus the
    one-sided p-value of the exact sign test; `evidence` holds the pairs.
    """

    subject: str
    baseline: str
    candidate: str
    n: int
    effect: float
    confidence: float
    decision: str
    evidence: Mapping[str, Any]


class AdapterState(StrEnum):
    CANDIDATE = "candidate"
    REJECTED = "rejected"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA in PEFT format and as GGUF below `folder`. `name` is made from its content."""

    name: str
    namespace: str
    base_model: str
    parent: str | None
    folder: str
    sha256: str
    state: AdapterState
    lineage: Mapping[str, Any]
    created_at: float
