"""What the engine host needs of what serves policy versions: processes of ours (`local`), or a server (`vllm`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from metaclaw.errors import EngineError
from metaclaw.serving.courtesy import Courtesy
from metaclaw.upstream.route import Route


class NoRoomError(EngineError):
    """The machine has no place for one more engine: too little memory, or no process or file to be had.

    Nothing is wrong with what was to be served.
    """


class RunningEngine(Protocol):
    """One policy version that answers. It never changes: another version is another one of these."""

    @property
    def policy(self) -> str: ...

    @property
    def route(self) -> Route: ...

    @property
    def alive(self) -> bool: ...

    def told(self) -> Mapping[str, Any]:
        """What there is to say of it, for people."""

    def why_ended(self) -> str:
        """Why it is not alive."""

    async def stop(self) -> None:
        """End it. Requests still in it may be cut, so drain first."""


class Engines(Protocol):
    """`start` gives an engine that answers, and in the right name; it raises `EngineError` or `TrainingError` where it
    does not, `UpstreamError` where there is no server to ask, and leaves nothing behind. Given a `courtesy`, what it
    starts on this machine gives way to who waits for a first word.
    """

    kind: str

    async def start(
        self, policy: str, adapter: str | None, courtesy: Courtesy | None = None
    ) -> RunningEngine: ...

    async def look(self) -> None:
        """See which of them still answer; `alive` says it then."""

    def require_room(self) -> None:
        """Raises `NoRoomError` where one more would starve the machine."""

    def pressed(self) -> str | None:
        """Why the machine would do better with one engine less; None where it would not."""

    def available_bytes(self) -> int | None:
        """Memory that is left where they run; None where nobody knows."""
