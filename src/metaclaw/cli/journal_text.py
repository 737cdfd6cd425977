"""A turn and a signal as `metaclaw journal` tells them: as JSON, in a few lines, or whole. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from metaclaw.signals.combine import combine
from metaclaw.types import Feedback, Signal, Turn

SHOWN = 160  # characters of a request or reply in a list
UNSAID = ("request", "response", "namespace", "sampled", "aside")


def as_json(turn: Turn, signals: Sequence[Signal], feedback: Sequence[Feedback]) -> dict[str, Any]:
    """All of a turn but its native bytes, and what came of it."""
    kept = {name: value for name, value in asdict(turn).items() if name not in UNSAID}
    outcome = combine(signals)
    return {
        "event": "turn",
        **kept,
        "kind": turn.kind.value,
        "outcome": "failed" if outcome.failed else "succeeded" if outcome.succeeded else "undecided",
        "signals": [_signal(one) for one in signals if one.value is not None],
        "feedback": [
            {"score": one.score, "text": one.text, "check": one.check.pattern if one.check else None}
            for one in feedback
        ],
    }


def signal_as_json(signal: Signal) -> dict[str, Any]:
    return {"event": "signal", "turn": signal.turn_id, **_signal(signal)}


def short(event: Mapping[str, Any]) -> str:
    """A turn in two lines and one for each thing that came of it, or a signal in one."""
    if event["event"] == "signal":
        return f"  on {event['turn']}: {_signal_line(event)}"
    lines = [
        _head(event), f"  asked:    {_cut(event['query'])}", f"  answered: {_cut(event['reply'])}", *_what_came(event)
    ]
    return "\n".join(lines)


def whole(event: Mapping[str, Any]) -> str:
    """Everything that a person may want of a turn."""
    lines = [
        _head(event),
        f"  session:    {event['session']}" + (f", agent {event['agent']}" if event["agent"] else ""),
        f"  policy:     {event['policy']}, generation {event['generation']}",
        f"  format:     {event['dialect']}",
        f"  usage:      {_pairs(event['usage']) or 'not told'}",
        f"  timings:    {_pairs(event['timings']) or 'none'}",
        *_what_came(event),
    ]
    parts = [("asked", event["query"]), ("injected", event["injected"]), ("answered", event["reply"])]
    parts += [
        (f"{call['skill']} was called with", f"{call['arguments']}\nand gave: {call['result']}")
        for call in (event["tools"] or {}).get("calls", ())
    ]
    return "\n".join(lines) + "".join(f"\n\n--- {title}\n{text}" for title, text in parts if text)


def _head(event: Mapping[str, Any]) -> str:
    when = datetime.fromtimestamp(event["created_at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    side = f"  side call ({event['side']})" if event["kind"] == "side" else ""
    broken = "" if event["complete"] else "  broke off"
    status = "" if event["status"] == 200 else f"  status {event['status']}"
    outcome = "" if event["outcome"] == "undecided" else f"  {event['outcome']}"
    return f"{when}  {event['id']}{side}{status}{broken}{outcome}"


def _what_came(event: Mapping[str, Any]) -> list[str]:
    """The skills, the tools and the signals, a line each."""
    lines = [f"  skills:   {', '.join(event['skills'])}"] if event["skills"] else []
    if event["withheld"]:
        lines.append(f"  withheld: {', '.join(event['withheld'])} (to compare)")
    tools = event["tools"] or {"offered": (), "calls": ()}
    if tools["offered"]:
        lines.append(f"  offered:  {', '.join(tools['offered'])}")
    for call in tools["calls"]:
        how = "ok" if call["ok"] else f"failed: {_cut(call['result'])}"
        lines.append(f"  ran:      {call['skill']} ({call['milliseconds']:.0f} ms): {how}")
    lines += [f"  signal:   {_signal_line(signal)}" for signal in event["signals"]]
    for one in event["feedback"]:
        score = "" if one["score"] is None else f"{one['score']:+g} "
        check = f" (check: {one['check']})" if one["check"] else ""
        lines.append(f"  the user: {score}{_cut(one['text'])}{check}")
    return lines


def _signal(signal: Signal) -> dict[str, Any]:
    return {"source": signal.source, "value": signal.value, "reason": signal.reason, "evidence": signal.evidence}


def _signal_line(signal: Mapping[str, Any]) -> str:
    evidence = f": {_cut(signal['evidence'])}" if signal["evidence"] else ""
    return f"{signal['source']} {signal['value']:+.2f}, {signal['reason']}{evidence}"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
    )


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
