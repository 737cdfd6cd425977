"""Kept responses that took several rounds: the id that the client knows, and the one of the last round.

A stream tells its id before anybody knows that a second round follows; the response that holds the results of our calls
is the last round's. So what a client asks by the first id is meant for the last. Where the last one holds calls of ours
that were dropped, they are answered when the client goes on from it. Kept in memory: after a restart of the gateway, a
provider refuses to go on from such a response, and the client has to send the conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from metaclaw.dialects import own_tools_in_responses, responses, splice
from metaclaw.dialects.base import Dialect, Request
from metaclaw.dialects.own_tools import Answer, OwnCall, Rounds

MOST = 1_000
PREVIOUS = "previous_response_id"
UNANSWERED = "This call was not made, since the turn ended or another tool was called with it. Call again if need be."


@dataclass(frozen=True, slots=True)
class Last:
    id: str
    dropped: Sequence[OwnCall]


class ProviderIds:
    """Used on one event loop."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, Last] = OrderedDict()

    def note(self, rounds: Rounds) -> None:
        """Something of a reply has come: the last of it is about to go to the client, if it is over."""
        if rounds.id and not rounds.calls and (rounds.dropped or rounds.id != rounds.shown_id):
            self._last[rounds.shown_id] = Last(rounds.id, [*rounds.dropped])
            if len(self._last) > MOST:
                self._last.popitem(last=False)

    def of(self, shown_id: str) -> str:
        """The id by which the provider knows what the client calls `shown_id`."""
        last = self._last.get(shown_id)
        return last.id if last else shown_id

    def request(self, dialect: Dialect, request: Request) -> Request:
        """The client's request as the provider understands it; itself where there is nothing to change."""
        if not self._last or dialect.NAME != responses.NAME:
            return request
        last = self._last.get(str(request.body.get(PREVIOUS)))
        if last is None:
            return request
        raw = splice.apply(request.raw, [splice.set_member(request.raw, PREVIOUS, last.id)])
        named = replace(request, raw=raw, body={**request.body, PREVIOUS: last.id})
        answers = [Answer(call, UNANSWERED, failed=True) for call in last.dropped]
        return own_tools_in_responses.answered(named, answers) if answers else named
