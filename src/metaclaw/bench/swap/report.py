"""The run file's figures as `swap.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from metaclaw.bench import results
from metaclaw.bench.results import Check

ADDED_MS, TIMES, ASKED_FOR = 100.0, 2.0, 500


def publish(records: Sequence[Mapping[str, Any]], swaps: int, folder: Path) -> None:
    made = [record for record in records if record["kind"] == "swap"]
    latency = [record for record in records if record["kind"] == "latency"]
    during, rest = ([ms for record in made for ms in record[name]] for name in ("during_ms", "rest_ms"))
    usual = median(rest)
    failed = [why for record in made for why in record["failed"]]
    mixed = sum(record["mixed"] for record in made)
    requests = sum(record["requests"] for record in made)
    added = round(max(during) - usual, 1)
    checks = {
        "swaps": Check(len(made), f"at least {ASKED_FOR}", len(made) >= ASKED_FOR),
        "dropped": Check(len(failed), "0", not failed),
        "mixed": Check(mixed, "0", mixed == 0),
        "added_first_token_ms": Check(added, f"at most {ADDED_MS:g}", added <= ADDED_MS),
    }
    if latency:
        times = round(p99(latency, "training") / p99(latency, "rest"), 2)
        checks["p99_training_over_rest"] = Check(times, f"at most {TIMES:g}", times <= TIMES)
    arms = {
        "swaps": results.share("requests answered whole, by one policy", [True] * (requests - len(failed) - mixed)
                               + [False] * (len(failed) + mixed)),
    }
    extra = {
        "first_token_ms": {"at rest": spread(rest), "during a swap": spread(during)},
        "swap_seconds": spread([record["seconds"] for record in made]),
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


def p99(latency: Sequence[Mapping[str, Any]], name: str) -> float:
    return middle(latency, name, "p99_ms")


def middle(latency: Sequence[Mapping[str, Any]], name: str, figure: str) -> float:
    """The median over rounds and shapes."""
    return round(median(shape[figure] for record in latency for shape in record[name].values()), 3)


def spread(values: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    return {
        "n": len(values), "median": round(cuts[49], 1), "p95": round(cuts[94], 1), "p99": round(cuts[98], 1),
        "most": round(max(values), 1),
    }
