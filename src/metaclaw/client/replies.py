"""What the gateway answers, as values. Fields that a newer gateway adds are in `raw`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Turn:
    """What the headers of a reply through the gateway say: by `id` feedback finds it, by `session` its conversation.

    `policy` is the model and adapter that answered, `skills` are those in the request, as name@version.
    """

    id: str
    session: str
    policy: str
    generation: int
    skills: tuple[str, ...]

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """Of the headers of any HTTP library. Raises `KeyError` where the reply did not come through a gateway."""
        lower = {name.lower(): value for name, value in headers.items()}
        skills = tuple(ref for ref in lower["x-metaclaw-skills"].split(",") if ref)
        return cls(
            lower["x-metaclaw-turn"], lower["x-metaclaw-session"], lower["x-metaclaw-policy"],
            int(lower["x-metaclaw-generation"]), skills,
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """Feedback that is on disk: its id, and the turn that it is of."""

    id: str
    turn_id: str


@dataclass(frozen=True, slots=True)
class Closed:
    session: str


@dataclass(frozen=True, slots=True)
class Health:
    """`policy` is None while a model loads. `lost` counts what was not kept or not done, by reason."""

    status: str
    version: str
    policy: str | None
    learner: str
    refused: int
    late: int
    lost: Mapping[str, int]
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def ready(self) -> bool:
        """Whether a model answers."""
        return self.status == "ok"


@dataclass(frozen=True, slots=True)
class SkillInfo:
    """A live skill; `state` is `trial` or `active`."""

    name: str
    version: int
    state: str


@dataclass(frozen=True, slots=True)
class AdapterRoute:
    """The adapter that should serve and the one that does; None is the base model."""

    wanted: str | None
    serving: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Status:
    """`waiting_skills` wait for a person, as name@version. `learning`: `settled`, or `working` on what it was told."""

    health: Health
    namespace: str
    generation: int
    skills: tuple[SkillInfo, ...]
    waiting_skills: tuple[str, ...]
    adapter: AdapterRoute
    learning: str
    in_flight: int
    raw: Mapping[str, Any] = field(repr=False, compare=False)


def kept(body: Mapping[str, Any]) -> Kept:
    return Kept(str(body["id"]), str(body["turn_id"]))


def closed(body: Mapping[str, Any]) -> Closed:
    return Closed(str(body["session"]))


def health(body: Mapping[str, Any]) -> Health:
    policy = body["policy"]
    return Health(
        str(body["status"]), str(body["version"]), None if policy is None else str(policy), str(body["learner"]),
        int(body["refused"]), int(body["late"]), {str(why): int(n) for why, n in body["lost"].items()}, body,
    )


def status(body: Mapping[str, Any]) -> Status:
    adapter = body["adapter"]
    return Status(
        health(body), str(body["namespace"]), int(body["generation"]),
        tuple(SkillInfo(str(one["name"]), int(one["version"]), str(one["state"])) for one in body["skills"]),
        tuple(str(ref) for ref in body["waiting_skills"]),
        AdapterRoute(adapter["wanted"], adapter["serving"], str(adapter["detail"])),
        str(body["learning"]), int(body["in_flight"]), body,
    )
