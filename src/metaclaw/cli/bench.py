"""`metaclaw bench`: run a benchmark, and what the committed result files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ResultsOption = Annotated[Path, typer.Option(help="Folder of the result files.")]
app = typer.Typer(help="Benchmarks and their results.", no_args_is_help=True)


@app.callback()
def bench() -> None:
    """Benchmarks and their results."""


@app.command()
def report(
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("bench/results"),
    check: Annotated[bool, typer.Option("--check", help="Print only what falls short; exit code 1 if any.")] = False,
) -> None:
    """Every figure that was asked for, with its bar and whether it holds.

    Example: metaclaw bench report --check
    """
    rows = [row for path in sorted(results.glob("*.json")) for row in _checks(path)]
    short = [row for row in rows if not row["holds"]]
    for row in short if check else rows:
        verdict = "holds" if row["holds"] else "falls short"
        typer.echo(f"{row['bench']}: {row['name']} = {row['value']} (bar: {row['bar']}): {verdict}")
    if check and short:
        raise typer.Exit(1)


@app.command()
def gateway(
    rounds: Annotated[int, typer.Option(help="How often each contender has its turn.")] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="Length of one run, in whole seconds.")] = 4,
    soak_minutes: Annotated[float, typer.Option(help="Load without pause at the end, for the memory.")] = 30.0,
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("bench/results"),
) -> None:
    """The gateway against the direct way, a bare pass-through, LiteLLM and Portkey.

    Needs Linux with two processors, cc, taskset, wrk, and npm for Portkey.

    Example: metaclaw bench gateway --rounds 1 --soak-minutes 0
    """
    from metaclaw.bench.gateway.run import main

    main(rounds, seconds, soak_minutes, results)


@app.command()
def retrieval(
    seed: Annotated[int, typer.Option(help="Which blanks are filled with what, and which distractors are drawn.")] = 1,
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("bench/results"),
) -> None:
    """Do requests find their skill among up to 100,000, and none where none fits; and what does it cost.

    Example: metaclaw bench retrieval --seed 2
    """
    from metaclaw.bench.retrieval.run import main

    main(seed, results)


@app.command()
def curation(
    seed: Annotated[int, typer.Option(help="Which failures come, in which order.")] = 1,
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("bench/results"),
) -> None:
    """2,000 failures of 50 rules: does the library stay small, and every rule covered? Takes some minutes.

    Example: metaclaw bench curation --seed 2
    """
    from metaclaw.bench.curation.run import main

    main(seed, results)


@app.command(name="skills-aa")
def skills_aa(
    seed: Annotated[int, typer.Option(help="Of the model's chance and of the hold-out's sessions.")] = 1,
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("bench/results"),
) -> None:
    """1,000 skills without effect: how many are admitted, how many called helpful; and the power for a true lift.

    Example: metaclaw bench skills-aa --seed 2
    """
    from metaclaw.bench.skills_aa import main

    main(seed, results)


@app.command()
def poison(results: ResultsOption = Path("bench/results")) -> None:
    """Attempts to plant a skill, through the real learner, and genuine corrections, most of which must be kept.

    Example: metaclaw bench poison
    """
    from metaclaw.bench.poison.run import main

    main(results)


@app.command()
def feedback(results: ResultsOption = Path("bench/results")) -> None:
    """How long from a correction to the first request that carries its skill, through a real gateway and its learner.

    Example: metaclaw bench feedback
    """
    from metaclaw.bench.feedback import main

    main(results)


def _checks(path: Path) -> list[dict[str, Any]]:
    result = json.loads(path.read_text(encoding="utf-8"))
    return [{"bench": result["bench"], "name": name, **entry} for name, entry in result["checks"].items()]
