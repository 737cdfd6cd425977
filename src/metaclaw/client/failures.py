"""What a call to the gateway can fail with.

    ClientError
    |-- NotReachedError   no connection: nothing was sent
    |-- TimedOutError     no answer in time, or it broke off: what was sent may have been done
    |-- GarbledError      an answer that is none of a gateway's
    `-- RefusedError      the gateway said no: `status`, and `code`, a stable word
        |-- TokenError    401 or 403: the token is missing or another one
        |-- NotThereError 404: no such turn, session or route
        `-- BusyError     429 or 503: it was not done and may be asked again, after `retry_after_seconds`
"""

from __future__ import annotations

from metaclaw.errors import MetaClawError


class ClientError(MetaClawError):
    pass


class NotReachedError(ClientError):
    pass


class TimedOutError(ClientError):
    pass


class GarbledError(ClientError):
    pass


class RefusedError(ClientError):
    def __init__(self, status: int, code: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class TokenError(RefusedError):
    pass


class NotThereError(RefusedError):
    pass


class BusyError(RefusedError):
    pass
