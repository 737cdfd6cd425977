"""Which call of a chat stream a delta goes on with: servers number and name them in ways of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from metaclaw.dialects.base import loads
from metaclaw.dialects.loose import dict_of


class Begun(Protocol):
    """A call that has begun: its number and id, and what has come of its name and its arguments."""

    @property
    def number(self) -> Any: ...

    @property
    def call_id(self) -> Any: ...

    @property
    def name(self) -> Any: ...

    @property
    def arguments(self) -> str: ...


Call = TypeVar("Call", bound=Begun)


def known(begun: Sequence[Call], delta: Mapping[str, Any]) -> Call | None:
    """The call that `delta` goes on with; None where it begins a new one.

    Servers number the calls, and give id and name with the first delta of each. Some give no number, some the same one
    to every call, some an id with each delta, some none at all: a new call is one with a name, and with a new id or
    behind a call that is complete.
    """
    number, call_id, name = delta.get("index"), delta.get("id"), dict_of(delta.get("function")).get("name")
    for call in reversed(begun):
        if call_id and call.call_id == call_id:
            return call
    last = next((call for call in reversed(begun) if number in (None, call.number)), None)
    if last and name and ((call_id and last.call_id) or (last.name and is_complete(last.arguments))):
        return None
    return last


def is_complete(arguments: str) -> bool:
    """Whether nothing can follow: a JSON object that has been closed takes no more."""
    try:
        return arguments.rstrip().endswith("}") and isinstance(loads(arguments), dict)
    except (ValueError, RecursionError):
        return False
