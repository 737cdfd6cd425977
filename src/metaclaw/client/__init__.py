"""A small typed client of a running gateway, for programs: feedback, the end of a conversation, and what runs.

    from metaclaw.client import MetaClaw, Turn

    with MetaClaw() as gateway:                      # the one on this machine, with its token
        turn = Turn.of(reply.headers)                # of any SDK's reply that came through the gateway
        gateway.feedback(turn.id, score=-1, text="Dates are written like 2026-01-31.")

`AsyncMetaClaw` is the same with `await`. Needs no extra, and loads neither settings nor models.
"""

from metaclaw.client.asynchronous import AsyncMetaClaw
from metaclaw.client.blocking import MetaClaw
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
from metaclaw.client.replies import AdapterRoute, Closed, Health, Kept, SkillInfo, Status, Turn

__all__ = [
    "AdapterRoute", "AsyncMetaClaw", "BusyError", "ClientError", "Closed", "GarbledError", "Health", "Kept", "MetaClaw",
    "NotReachedError", "NotThereError", "RefusedError", "SkillInfo", "Status", "TimedOutError", "TokenError", "Turn",
]
