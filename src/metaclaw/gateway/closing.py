"""`POST /v1/metaclaw/sessions/{id}/close`: a client, or a person, says that a conversation is over.

The same as `x-metaclaw-close: 1` with its last request; `id` is what `x-metaclaw-session` says in the replies.
"""

from __future__ import annotations

from metaclaw.journal.open_sessions import OpenSessions
from metaclaw.wire.messages import Request, Response


class CloseHandler:
    def __init__(self, sessions: OpenSessions) -> None:
        self._sessions = sessions

    async def handle(self, request: Request) -> Response:
        """Raises `RequestError` (404) for a session that is not known, and `StoreError`."""
        session = request.params["id"]
        await self._sessions.close(session)
        return Response.json({"session": session, "closed": True})
