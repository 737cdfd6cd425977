"""Spans to an OpenTelemetry collector (OTLP over HTTP, protobuf), from a bounded queue on a thread of its own.

In: turns, each with its place in a trace, from the gateway's loop; all that this costs there is a put into a queue.
Out: spans. What does not fit the queue, and what the collector does not take, is dropped and counted: a collector that
is gone or slow is never felt by a request. `opentelemetry` comes with the extra `otel`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metaclaw.config.observability import TelemetrySettings
from metaclaw.errors import ConfigError
from metaclaw.journal.redact import Redactor
from metaclaw.telemetry.attributes import attributes_of, error_of, name_of
from metaclaw.telemetry.trace_context import CURRENT, Place
from metaclaw.types import Turn

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger(__name__)

MOST_WAITING = 2_048
LARGEST_BATCH = 256
GATHER_SECONDS = 1.0  # how long a span waits for others
EXPORT_SECONDS = 10.0  # for one batch, its repeats included
CLOSE_SECONDS = 3.0  # for what is left at the end
FULL, REFUSED, UNREADABLE = "queue full", "not taken by the collector", "not made"
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"


class Spans:
    """`exported` and `dropped` are counted for `/metrics`. `close` sends what is left."""

    def __init__(
        self, settings: TelemetrySettings, namespace: str, version: str, redactor: Redactor, *, embedded: bool
    ) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        except ImportError as error:
            raise ConfigError(
                "telemetry.otlp_endpoint needs OpenTelemetry: pip install 'metaclaw[otel]'."
            ) from error

        self.exported = 0
        self.dropped: Counter[str] = Counter()
        self._content, self._embedded, self._redactor = settings.content, embedded, redactor
        self._exporter = OTLPSpanExporter(
            f"{(settings.otlp_endpoint or '').rstrip('/')}/v1/traces", headers=headers_of(settings),
            timeout=EXPORT_SECONDS,
        )
        self._resource = Resource.create({
            "service.name": "metaclaw", "service.version": version, "service.namespace": namespace,
        })
        self._scope = InstrumentationScope("metaclaw", version, SCHEMA)
        self._queue: queue.Queue[tuple[Turn, Place] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def keep(self, turn: Turn) -> None:
        """A turn that is over, told by whoever serves its request."""
        place = CURRENT.get()
        if place is None or not place.sampled:
            return
        try:
            self._queue.put_nowait((turn, place))
        except queue.Full:
            self.dropped[FULL] += 1

    def close(self) -> None:
        """Send what is left, if that does not take long; what is left then is dropped."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_SECONDS)
            self._thread.join(CLOSE_SECONDS)
        # This also ends its waiting for a collector that is gone.
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        with contextlib.suppress(queue.Empty):
            while self._queue.get_nowait():
                self.dropped[REFUSED] += 1
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ends = False
        while not ends:
            batch, ends = self._gather()
            if spans := [span for turn, place in batch for span in self._made(turn, place)]:
                self._export(spans)

    def _gather(self) -> tuple[list[tuple[Turn, Place]], bool]:
        """The next turns, and whether they are the last."""
        batch: list[tuple[Turn, Place]] = []
        item = self._queue.get()
        deadline = time.monotonic() + GATHER_SECONDS
        while item is not None:
            batch.append(item)
            if len(batch) == LARGEST_BATCH:
                return batch, False
            try:
                item = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return batch, False
        return batch, True

    def _export(self, spans: list[ReadableSpan]) -> None:
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._exporter.export(spans) is SpanExportResult.SUCCESS:
            self.exported += len(spans)
        else:
            self.dropped[REFUSED] += len(spans)

    def _made(self, turn: Turn, place: Place) -> list[ReadableSpan]:
        """None where a turn is of a shape that nobody thought of: it is counted, and the others go on."""
        try:
            return [self._span(turn, place)]
        except Exception:  # whatever it is, the thread must live
            log.exception("no span was made of turn %s", turn.id)
            self.dropped[UNREADABLE] += 1
            return []

    def _span(self, turn: Turn, place: Place) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(span_id: int, *, is_remote: bool) -> SpanContext:
            return SpanContext(place.trace_id, span_id, is_remote, TraceFlags(TraceFlags.SAMPLED))

        attributes = self._redacted(attributes_of(turn, embedded=self._embedded, content=self._content))
        error = error_of(turn)
        start_ns = int(turn.created_at * 1e9)
        return ReadableSpan(
            name_of(attributes), context(place.span_id, is_remote=False),
            context(place.parent_id, is_remote=True) if place.parent_id is not None else None,
            self._resource, attributes, kind=SpanKind.CLIENT,
            status=Status(StatusCode.ERROR, error) if error else Status(StatusCode.UNSET),
            start_time=start_ns, end_time=start_ns + int(turn.timings.get("total_seconds", 0.0) * 1e9),
            instrumentation_scope=self._scope,
        )

    def _redacted(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        clean = self._redactor.text
        return {
            key: clean(value) if isinstance(value, str)
            else [clean(one) for one in value] if isinstance(value, list) else value
            for key, value in attributes.items()
        }


def headers_of(settings: TelemetrySettings) -> dict[str, str]:
    """`name=value,name=value`, as OTEL_EXPORTER_OTLP_HEADERS has it."""
    text = settings.headers.get_secret_value() if settings.headers else ""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}
