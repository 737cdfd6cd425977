"""`python -m metaclaw.bench.scheduling.run --seeds 10000`: play simulated days, and write what broke."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from metaclaw.bench import results
from metaclaw.bench.scheduling.days import SECOND_BY, play_all


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10_000)
    parser.add_argument("--results", type=Path, default=Path("bench/results"))
    arguments = parser.parse_args()
    began = time.monotonic()
    broken, counts, slowest = play_all(range(arguments.seeds))
    for seed, lines in list(broken.items())[:10]:
        print(f"seed {seed}: {lines[0]}")
    took = time.monotonic() - began
    print(f"{arguments.seeds} seeds in {took:.0f} s; {len(broken)} broke an invariant; {dict(counts)}")
    checks = {
        "seeds": results.Check(arguments.seeds, "at least 10000", arguments.seeds >= 10_000),
        "seeds that broke an invariant": results.Check(len(broken), "0", not broken),
        "slowest pause once a window closed, seconds": results.Check(
            round(slowest, 3), "at most 1", slowest <= SECOND_BY
        ),
    }
    kept = [seed not in broken for seed in range(arguments.seeds)]
    arms = {"scheduler": results.share("seeds that kept every invariant", kept)}
    results.write(
        arguments.results, "scheduling", f"python -m metaclaw.bench.scheduling.run --seeds {arguments.seeds}", "none",
        [0, arguments.seeds - 1], arms, checks, {"counts": dict(counts)},
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
