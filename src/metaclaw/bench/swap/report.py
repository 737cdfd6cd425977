"""The run file's figures as `swap.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from metaclaw.bench import results
from metaclaw.bench.results import Check

MOMENTS = {"at rest": "rest_ms", "during a swap": "during_ms"}
ADDED_MS, TIMES, ASKED_FOR = 100.0, 2.0, 500
KINDS = ("started", "at hand")


def publish(records: Sequence[Mapping[str, Any]], swaps: int, folder: Path) -> None:
    made = [record for record in records if record["kind"] != "latency"]
    latency = [record for record in records if record["kind"] == "latency"]
    timed = [kind for kind in KINDS if _all(made, "during_ms", kind) and _all(made, "rest_ms", kind)]
    kinds = {kind: [record for record in made if record["kind"] == kind] for kind in KINDS}
    failed = [why for record in made for why in record["failed"]]
    mixed = sum(record["mixed"] for record in made)
    requests = sum(record["requests"] for record in made)
    checks = {
        **{f"swaps_{_key(kind)}": Check(len(of), f"at least {ASKED_FOR}", len(of) >= ASKED_FOR)
           for kind, of in kinds.items()},
        "dropped": Check(len(failed), "0", not failed),
        "mixed": Check(mixed, "0", mixed == 0),
        **{name: check for kind in timed for name, check in _added(made, kind).items()},
        **{f"added_first_token_ms_{_key(kind)}_most": Check(None, f"at most {ADDED_MS:g}", False)
           for kind in KINDS if kind not in timed},
    }
    if latency:
        times = round(p99(latency, "training") / p99(latency, "rest"), 2)
        checks["p99_training_over_rest"] = Check(times, f"at most {TIMES:g}", times <= TIMES)
    arms = {
        "swaps": results.share("requests answered whole, by one policy", [True] * (requests - len(failed) - mixed)
                               + [False] * (len(failed) + mixed)),
    }
    extra = {
        "first_token_ms": {
            kind: {told: spread(_all(made, name, kind)) for told, name in MOMENTS.items()} for kind in timed
        },
        "swap_seconds": {kind: spread([record["seconds"] for record in of]) for kind, of in kinds.items() if of},
        "failures": failed[:20],
        "latency": {
            "rounds": len(latency), "steps_trained": sum(record["steps"] for record in latency),
            **{name: {"p50_ms": middle(latency, name, "p50_ms"), "p99_ms": p99(latency, name)}
               for name in ("rest", "training") if latency},
        },
        "records": "bench/results/swap/records.jsonl",
    }
    path = results.write(
        folder, "swap", f"metaclaw bench swap --swaps {swaps}", "smollm2-135m", [1, 2], arms, checks, extra
    )
    print(path.read_text(encoding="utf-8"))


def _added(made: Sequence[Mapping[str, Any]], kind: str) -> dict[str, Check]:
    """Beside the requests between the swaps, which met the same machine: median, slowest hundredth, and slowest."""
    during, rest = spread(_all(made, "during_ms", kind)), spread(_all(made, "rest_ms", kind))
    return {
        f"added_first_token_ms_{_key(kind)}_{figure}": Check(
            added := round(during[figure] - rest[figure], 1), f"at most {ADDED_MS:g}", added <= ADDED_MS
        )
        for figure in ("median", "p99", "most")
    }


def _all(made: Sequence[Mapping[str, Any]], name: str, kind: str) -> list[float]:
    return [ms for record in made if record["kind"] == kind for ms in record[name]]


def _key(kind: str) -> str:
    return kind.replace(" ", "_")


def p99(latency: Sequence[Mapping[str, Any]], name: str) -> float:
    return middle(latency, name, "p99_ms")


def middle(latency: Sequence[Mapping[str, Any]], name: str, figure: str) -> float:
    """The median over rounds and shapes."""
    values: list[float] = [shape[figure] for record in latency for shape in record[name].values()]
    return round(median(values), 3)


def spread(values: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    return {
        "n": len(values), "median": round(cuts[49], 1), "p95": round(cuts[94], 1), "p99": round(cuts[98], 1),
        "most": round(max(values), 1),
    }
