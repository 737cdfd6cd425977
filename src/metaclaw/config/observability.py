"""The settings of what people see of it: the dashboard, the log, and the spans that a collector is sent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from metaclaw.config.values import Section, Url


class DashboardSettings(Section):
    enabled: bool = True
    """Whether the learner serves the dashboard: `metaclaw dashboard` prints its link."""
    host: str = "127.0.0.1"
    """Address that it listens on. Anything but loopback shows what your agents said to whoever has a link; in a
    container it must be 0.0.0.0, with its port published to loopback alone."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8792
    """Port of the dashboard; 0 takes a free one, and so does a port that is taken."""


class LogSettings(Section):
    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line, with the ids of what it is about. Secrets are masked in both."""
    level: Literal["debug", "info", "warning", "error"] = "warning"
    """What is written, from this on; `metaclaw start --verbose` is `info`. The learner always says what it learned."""


class TelemetrySettings(Section):
    otlp_endpoint: Url | None = None
    """Base URL of an OpenTelemetry collector (OTLP over HTTP), such as http://127.0.0.1:4318: each turn is sent there
    as a span. Without one, nothing is."""
    headers: SecretStr | None = None
    """Headers that the collector wants: name=value, several with commas between."""
    content: bool = False
    """Whether spans also hold what was asked and said, with secrets redacted."""
