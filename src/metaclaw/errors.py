"""Every error that MetaClaw raises on purpose.

    MetaClawError
    |-- ConfigError        settings that cannot be used; the text names the key and the mend
    |-- RequestError       the client's request cannot be served as it is (HTTP 4xx)
    |-- UpstreamError      the provider or the engine failed (HTTP 5xx, or the provider's own status)
    |   |-- ToolsRefusedError  it refused a request with tools of ours; without them it may answer
    |   `-- OverfullError      it refused a request with something of ours as too long; by itself it may fit
    |-- WireError          HTTP that broke off or cannot be read; its text is a short reason, and quotes nothing sent
    |   |-- BodyTooLargeError     a request's body
    |   |-- UnreachableError      no connection; its text is the system's reason
    |   `-- StaleConnectionError  a pooled connection that the server had closed before we used it
    |-- StoreError         the database refused
    |-- BackupError        a backup that cannot be made, or is not one of ours, whole and unchanged
    |-- SkillError         a skill folder or a proposal that breaks the rules of skills
    |-- ConnectError       a client's configuration that cannot be read, changed or put back
    |-- WeightsError       model weights missing, or not the bytes that were pinned
    |-- CacheError         a file that only saves work is damaged, or cannot be written; work goes on without it
    |-- SandboxError       a code skill cannot run here; the text says what is missing and how to get it
    |-- EngineError        an engine process that would not start, answer or stop
    |-- CalendarError      a calendar that cannot be fetched or read; it then opens no window
    |-- LeaseLostError     another learner has taken the namespace's job over; it is left to that one
    `-- TrainingError      a training job that cannot run, or an adapter that cannot be used
        |-- ChildInterruptedError  its process was stopped from outside; it can be started again
        |-- OvertakenError         what it learns from was erased, or may not train any more; the next may begin at once
        `-- TemplateError          the model's chat template refused one conversation; the others can be learned from

`metaclaw.client`, which runs in other people's programs, has a short tree of its own below it: `client/failures.py`.

Foreign exceptions become one of these once, where they enter MetaClaw.
"""

from __future__ import annotations


class MetaClawError(Exception):
    """Base of them all. The text says what happened and what to do."""


class ConfigError(MetaClawError):
    pass


class RequestError(MetaClawError):
    """A client's mistake: `status` is the HTTP status, `code` a stable machine-readable word.

    `retry_after` says in how many seconds the same request may succeed, where it may.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class UpstreamError(MetaClawError):
    """The upstream failed before its reply began. `retry_after` is its header, verbatim, if it sent one."""

    def __init__(self, status: int, code: str, message: str, retry_after: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered later: nobody is there, or there is no room just now."""
        return self.status >= 500 or self.status in (408, 429)


class ToolsRefusedError(UpstreamError):
    pass


class OverfullError(UpstreamError):
    pass


class WireError(MetaClawError):
    pass


class BodyTooLargeError(WireError):
    pass


class UnreachableError(WireError):
    pass


class StaleConnectionError(WireError):
    pass


class StoreError(MetaClawError):
    pass


class BackupError(MetaClawError):
    pass


class SkillError(MetaClawError):
    pass


class ConnectError(MetaClawError):
    pass


class WeightsError(MetaClawError):
    pass


class CacheError(MetaClawError):
    pass


class SandboxError(MetaClawError):
    pass


class EngineError(MetaClawError):
    pass


class CalendarError(MetaClawError):
    pass


class LeaseLostError(MetaClawError):
    pass


class TrainingError(MetaClawError):
    pass


class ChildInterruptedError(TrainingError):
    pass


class OvertakenError(TrainingError):
    pass


class TemplateError(TrainingError):
    pass
