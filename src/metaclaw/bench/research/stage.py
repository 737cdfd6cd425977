"""What a stage is: its task, the form of its answer, and its contract, rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.bench.research.study import Answer, Study

TEXT: Mapping[str, Any] = {"type": "string"}
NUMBER: Mapping[str, Any] = {"type": "number"}
WHOLE: Mapping[str, Any] = {"type": "integer"}


def record(**fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A JSON Schema: an object with just these fields."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def several(items: Mapping[str, Any], most: int) -> Mapping[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": most}


def one_of(values: Sequence[str]) -> Mapping[str, Any]:
    return {"enum": list(values)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a contract. `holds` is pure; `says` is what a rejected answer is told, with an example."""

    says: str
    holds: Callable[[Answer, Study], object]


@dataclass(frozen=True, slots=True)
class Stage:
    """`back_to` makes it a gate: a rejected answer sends the work back to that stage."""

    name: str
    task: str
    schema: Callable[[Study], Mapping[str, Any]]
    rules: tuple[Rule, ...]
    worked: Callable[[Study], Answer]
    shown: Callable[[Study], str] = lambda study: ""
    back_to: str = ""

    def broken(self, answer: Answer, study: Study) -> list[str]:
        """What of the contract an answer breaks; an answer that a rule cannot even read breaks it."""
        return [rule.says for rule in self.rules if not _holds(rule, answer, study)]


def _holds(rule: Rule, answer: Answer, study: Study) -> bool:
    try:
        return bool(rule.holds(answer, study))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, SyntaxError, RecursionError):
        return False
