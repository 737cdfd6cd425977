"""`GET /metrics`: what the gateway has counted, as Prometheus reads it (text format 0.0.4). Pure.

In: what `Gateway.measures` gives. Nothing is counted for this: the numbers are there anyway and are read when somebody
asks, so that a request pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]
Family = tuple[str, str, str, list[Sample]]  # name, type, help, samples


def exposition(measures: Mapping[str, Any]) -> str:
    return "".join(line for family in _families(measures) for line in _lines(*family))


def _families(of: Mapping[str, Any]) -> Iterator[Family]:
    who = {name: str(of[name] or "") for name in ("version", "policy", "namespace")}
    yield _one("info", "gauge", "What runs", 1, **who)
    yield _one("ready", "gauge", "Whether a model answers", of["status"] == "ok")
    yield _one("requests_under_way", "gauge", "Requests that are being served", of["under_way"])
    yield _one("requests_refused_total", "counter", "Requests refused with 429", of["refused"])
    yield _one("turns_late_total", "counter", "Turns that were on disk only after their reply's end", of["late"])
    # Not a counter: a turn that comes through after all counts as lost no more.
    lost: list[Sample] = [({"reason": reason}, n) for reason, n in of["lost"].items()]
    yield "metaclaw_lost", "gauge", "What was not kept or not done since the start, by reason", lost
    yield _one("learner_up", "gauge", "Whether the learner is alive; absent where it is off", of["learner_up"])
    yield _one("learner_starts_total", "counter", "Starts of the learner", of["learner_starts"])
    yield _one("learner_news_dropped_total", "counter", "News that the learner did not take", of["learner_dropped"])
    calls: list[Sample] = [({"result": result}, n) for result, n in of["code_calls"].items()]
    yield "metaclaw_code_skill_calls_total", "counter", "Calls of code skills, by engine and result", calls
    yield from _upstreams(of["upstreams"])
    if spans := of["spans"]:
        yield _one("spans_exported_total", "counter", "Turns that a collector took as spans", spans["exported"])
        dropped: list[Sample] = [({"reason": reason}, n) for reason, n in spans["dropped"].items()]
        yield "metaclaw_spans_dropped_total", "counter", "Turns that no collector got as spans, by reason", dropped
    yield _one("store_up", "gauge", "Whether the store could be read just now", of["store_up"])
    yield _one("turns_stored_total", "counter", "Turns in the store, of all namespaces", of.get("turns"))
    yield _one("library_generation", "counter", "Changes of what may be injected", of.get("generation"))
    yield _one("skills_live", "gauge", "Skills that may be injected", of.get("skills_live"))
    yield _one("skills_waiting", "gauge", "Skills that wait for a person", of.get("skills_waiting"))
    yield "process_cpu_seconds_total", "counter", "Processor time of the gateway", [({}, of["cpu_seconds"])]
    yield "process_start_time_seconds", "gauge", "When the gateway began", [({}, of["started_at"])]


def _upstreams(upstreams: list[Mapping[str, Any]]) -> Iterator[Family]:
    named = [({"upstream": str(one["name"])}, one) for one in upstreams]
    yield (
        "metaclaw_upstream_in_flight", "gauge", "Requests that an upstream works on",
        [(labels, one["in_flight"]) for labels, one in named],
    )
    yield (
        "metaclaw_upstream_cooldown_seconds", "gauge", "How long an upstream is left alone from now on",
        [(labels, one["cooldown_seconds_left"]) for labels, one in named],
    )


def _one(name: str, kind: str, text: str, value: float | None, **labels: str) -> Family:
    """A family of one sample; of none where the value is not known."""
    return f"metaclaw_{name}", kind, text, [] if value is None else [(labels, value)]


def _lines(name: str, kind: str, text: str, samples: list[Sample]) -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    for labels, value in samples:
        inside = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        yield f"{name}{{{inside}}} {float(value)!r}\n" if inside else f"{name} {float(value)!r}\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
