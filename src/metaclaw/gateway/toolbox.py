"""Code skills as tools of a turn: which are offered, and their calls, run in the sandbox within bounds.

In: what the library's skills offer for a request. Out: a `ToolTurn`, which holds the request of each round, reads the
replies, and between two rounds runs what the model called. A call that fails is a result that says so. What was offered
and run goes into the turn's record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from metaclaw.context.offers import Offer
from metaclaw.dialects import (
    chat,
    messages,
    own_tools,
    own_tools_in_chat,
    own_tools_in_messages,
    own_tools_in_responses,
    responses,
)
from metaclaw.dialects.base import Dialect, Request, storable
from metaclaw.dialects.own_tools import Answer, OwnCall, OwnTools, Rounds
from metaclaw.errors import SandboxError, SkillError
from metaclaw.gateway.provider_ids import ProviderIds
from metaclaw.sandbox import Call, Sandbox
from metaclaw.types import ToolCall, ToolUse
from metaclaw.upstream.route import Route

log = logging.getLogger(__name__)

WIRES: Mapping[str, OwnTools] = {
    chat.NAME: own_tools_in_chat, messages.NAME: own_tools_in_messages, responses.NAME: own_tools_in_responses,
}
MOST_ROUNDS = 4  # in which calls are run; the request after the last of them may call nothing of ours
MOST_CALLS = 8  # run in one round
MOST_SECONDS = 20.0  # for all calls of a turn together; one alone has `sandbox.seconds`
MOST_CHARACTERS = 8_000  # of a result, about two thousand tokens
MOST_TOOLS = 128  # of one request, as OpenAI has it
REFUSALS = (400, 404, 422, 501)  # how upstreams say that they, or this model of theirs, know no tools
REFUSAL_SECONDS = 600.0  # how long that is believed
MOST_REFUSALS = 1_000  # kept in mind
NO_MORE = "(No further calls: answer with what you have.)"


class Toolbox:
    """Owned by the gateway; `sandbox` belongs to whoever made it. Used on one event loop."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.failures: Counter[str] = Counter()
        self.ids = ProviderIds()
        self._sandbox = sandbox
        self._usable: bool | None = None
        self._refused: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def offer(self, offers: Sequence[Offer], dialect: Dialect, request: Request) -> ToolTurn | None:
        """None where nothing is to be offered: the request goes its way as it came."""
        wire = WIRES[dialect.NAME]
        taken, tools = wire.names(request.body), request.body.get("tools") or []
        apart = [one for one in offers if not _has(taken, one)]
        room = isinstance(tools, list) and len(tools) + len(apart) <= MOST_TOOLS
        if not apart or not room or not wire.admits(request.body) or not await self._works():
            return None
        return ToolTurn(self, wire, request, apart)

    def refuses(self, route: Route, request: Request) -> bool:
        """Whether this model of this upstream has refused tools not long ago."""
        since = self._refused.get(_key(route, request))
        return since is not None and time.monotonic() - since < REFUSAL_SECONDS

    def refused(self, route: Route, request: Request) -> None:
        """It refused a request with our tools, and took the same one without them."""
        log.warning("%s takes no tools: no code skill is offered there for a while", route.url)
        self._refused[_key(route, request)] = time.monotonic()
        if len(self._refused) > MOST_REFUSALS:
            self._refused.popitem(last=False)

    async def run(self, offer: Offer, call: OwnCall) -> Answer:
        """What came of one call. Nothing that it does, or that is wrong with it, raises."""
        try:
            arguments = offer.arguments(call.arguments)
            result = await self._sandbox.run(Call(offer.tool.source, offer.tool.entry, arguments))
        except SkillError as error:
            return Answer(call, str(error), failed=True)
        except (SandboxError, OSError) as error:
            self.failures[type(error).__name__] += 1
            log.error("a code skill could not run: %s", error)
            return Answer(call, "This tool cannot run at the moment. Do without it.", failed=True)
        if not result.ok:
            return Answer(call, result.error, failed=True)
        return Answer(call, offer.told(result.value))

    async def _works(self) -> bool:
        """Whether anything here runs code skills; found out once."""
        if self._usable is None:
            missing = await self._sandbox.missing()
            self._usable = any(reason is None for reason in missing.values())
            if not self._usable:
                self.failures["no sandbox"] += 1
                log.error("no code skill is offered, nothing here can run one: %s", missing)
        return self._usable


class ToolTurn:
    """The rounds of one turn. `begin` comes first; `asked` is the request of the round under way."""

    asked: Request
    _rounds: Rounds
    _left: int
    _seconds: float

    def __init__(self, toolbox: Toolbox, wire: OwnTools, request: Request, offers: Sequence[Offer]) -> None:
        self._toolbox = toolbox
        self._wire = wire
        self._request = request
        self._offers = {offer.name: offer for offer in offers}
        self._alone = not request.body.get("tools") and not wire.names(request.body)
        self._calls: list[ToolCall] = []

    def begin(self) -> None:
        """From the start, with another upstream."""
        self.asked = own_tools.with_tools(self._wire, self._request, [*self._offers.values()])
        self._rounds = self._wire.rounds(frozenset(self._offers))
        self._calls = []
        self._left = MOST_ROUNDS
        self._seconds = MOST_SECONDS

    @property
    def use(self) -> ToolUse:
        """For the turn's record."""
        return ToolUse(tuple(offer.ref for offer in self._offers.values()), tuple(self._calls))

    @property
    def called(self) -> tuple[str, ...]:
        """The skills that were called, each once."""
        return tuple(dict.fromkeys(call.skill for call in self._calls))

    def feed(self, event: bytes) -> list[bytes]:
        """The client's events that one of the round's stream makes, in the client's format."""
        told = [*self._rounds.feed(event)]
        self._toolbox.ids.note(self._rounds)
        return told

    def whole(self, raw: bytes) -> bytes:
        """The client's reply so far, from that of a round which was not streamed."""
        told = self._rounds.whole(raw)
        self._toolbox.ids.note(self._rounds)
        return told

    async def step(self) -> bool:
        """Run what the round that is over called: `asked` is then the next request. False: the reply is over."""
        calls = self._rounds.calls
        if not calls:
            return False
        answers = await self._answers(calls)
        self.asked = self._wire.continued(self.asked, self._rounds.said, answers)
        self._left -= 1
        self._rounds.again()
        self._rounds.last = not self._left
        if not self._left and self._alone:  # the client has no tool that this would keep the model from
            self.asked = own_tools.without_calls(self._wire, self.asked)
        return True

    async def _answers(self, calls: Sequence[OwnCall]) -> list[Answer]:
        began = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(number, call)) for number, call in enumerate(calls)]
        finally:
            self._seconds -= time.perf_counter() - began
        found = [task.result() for task in tasks]
        self._calls += [record for _, record in found]
        answers = [answer for answer, _ in found]
        if self._left == 1:
            answers[-1] = replace(answers[-1], text=f"{answers[-1].text}\n\n{NO_MORE}")
        return answers

    async def _answer(self, number: int, call: OwnCall) -> tuple[Answer, ToolCall]:
        offer, began = self._offers[call.name], time.perf_counter()
        if number >= MOST_CALLS:
            answer = Answer(call, f"Not run: at most {MOST_CALLS} calls at once. Call again.", failed=True)
        else:
            answer = await self._in_time(offer, call)
        answer = replace(answer, text=_bounded(storable(answer.text)))
        spent = round(1000 * (time.perf_counter() - began), 3)
        return answer, ToolCall(offer.ref, call.arguments[:MOST_CHARACTERS], answer.text, not answer.failed, spent)

    async def _in_time(self, offer: Offer, call: OwnCall) -> Answer:
        try:
            async with asyncio.timeout(max(0.0, self._seconds)):
                return await self._toolbox.run(offer, call)
        except TimeoutError:
            return Answer(call, f"Stopped: the tools of a turn may take {MOST_SECONDS:g} s together.", failed=True)


def _has(names: set[str], offer: Offer) -> bool:
    """Whether a client has a tool of that name, or has the skill itself over MCP, such as `mcp__metaclaw__add_up`."""
    return any("metaclaw" in name.lower() and name.endswith(offer.tool.name) for name in names)


def _bounded(text: str) -> str:
    """Of a long result the beginning and the end, with a word on what is left out."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def _key(route: Route, request: Request) -> tuple[str, str]:
    return route.url, route.model or str(request.body.get("model"))

