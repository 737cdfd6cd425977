"""`metaclaw bench`: run a benchmark of one part, and what the committed result files say; `bench_learning` has those of
learning as a whole.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from metaclaw.cli import bench_learning
from metaclaw.cli.bench_learning import RESULTS, ResultsOption
from metaclaw.cli.common import JsonOption, need

app = typer.Typer(help="Benchmarks and their results.", no_args_is_help=True)


@app.callback()
def bench(context: typer.Context) -> None:
    """Benchmarks and their results."""
    if context.invoked_subcommand != "report":
        need("aiohttp", "metaclaw bench", "demo")


@app.command()
def report(
    results: ResultsOption = RESULTS,
    check: Annotated[bool, typer.Option("--check", help="Print only what falls short; exit code 1 if any.")] = False,
    page: Annotated[
        Path | None, typer.Option(help="Also write results.html and its pictures into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Every figure that was asked for, with its bar and whether it holds; and all results as one page.

    Example: metaclaw bench report --page docs
    """
    from metaclaw.bench.report.committed import read_all

    found = read_all(results)
    rows = [{"bench": one.name, "name": name, **asdict(entry)} for one in found for name, entry in one.checks.items()]
    short = [row for row in rows if not row["holds"]]
    _print_checks(short if check else rows, as_json)
    if page:
        need("jinja2", "metaclaw bench report --page", "demo")
        from metaclaw.bench.report.page import publish

        typer.echo(f"written: {publish(found, page)}", err=as_json)
    if check and short:
        raise typer.Exit(1)


@app.command()
def gateway(
    rounds: Annotated[int, typer.Option(help="How often each contender has its turn.")] = 3,
    seconds: Annotated[int, typer.Option(min=1, help="Length of one run, in whole seconds.")] = 4,
    soak_minutes: Annotated[float, typer.Option(help="Load without pause at the end, for the memory.")] = 30.0,
    results: ResultsOption = RESULTS,
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
    results: ResultsOption = RESULTS,
) -> None:
    """Do requests find their skill among up to 100,000, and none where none fits; and what does it cost.

    Example: metaclaw bench retrieval --seed 2
    """
    from metaclaw.bench.retrieval.run import main

    main(seed, results)


@app.command()
def curation(
    seed: Annotated[int, typer.Option(help="Which failures come, in which order.")] = 1,
    results: ResultsOption = RESULTS,
) -> None:
    """2,000 failures of 50 rules: does the library stay small, and every rule covered? Takes some minutes.

    Example: metaclaw bench curation --seed 2
    """
    from metaclaw.bench.curation.run import main

    main(seed, results)


@app.command(name="skills-aa")
def skills_aa(
    seed: Annotated[int, typer.Option(help="Of the model's chance and of the hold-out's sessions.")] = 1,
    results: ResultsOption = RESULTS,
) -> None:
    """1,000 skills without effect: how many are admitted, how many called helpful; and the power for a true lift.

    Example: metaclaw bench skills-aa --seed 2
    """
    from metaclaw.bench.skills_aa import main

    main(seed, results)


@app.command(name="gate-aa")
def gate_aa(
    minutes: Annotated[float, typer.Option(help="Length of this slice; the next one goes on where it ends.")] = 600.0,
    models_dir: Annotated[Path, typer.Option(help="Where model weights are cached.")] = Path("~/.metaclaw/models"),
    results: ResultsOption = RESULTS,
) -> None:
    """200 adapters without effect and 16 spoiled ones before the gate, on SmolLM2-135M. Resumable.

    Example: metaclaw bench gate-aa --minutes 10
    """
    need("torch", "metaclaw bench gate-aa", "train")
    from metaclaw.bench.gate_aa.run import Plan, main

    main(Plan(), minutes, models_dir.expanduser(), results)


@app.command()
def swap(
    swaps: Annotated[int, typer.Option(min=1, help="How many there are to be in all.")] = 500,
    minutes: Annotated[float, typer.Option(help="Length of this slice; the next one goes on where it ends.")] = 600.0,
    models_dir: Annotated[Path, typer.Option(help="Where model weights are cached.")] = Path("~/.metaclaw/models"),
    results: ResultsOption = RESULTS,
) -> None:
    """Swaps of real engines under streams, on SmolLM2-135M, and the gateway's latency beside the trainer. Resumable.

    Needs Linux with two processors, cc, taskset and wrk.

    Example: metaclaw bench swap --swaps 50 --minutes 10
    """
    need("torch", "metaclaw bench swap", "train")
    from metaclaw.bench.swap.run import main

    main(swaps, minutes, models_dir.expanduser(), results)


@app.command()
def poison(results: ResultsOption = RESULTS) -> None:
    """Attempts to plant a skill, through the real learner, and genuine corrections, most of which must be kept.

    Example: metaclaw bench poison
    """
    from metaclaw.bench.poison.run import main

    main(results)


@app.command()
def feedback(results: ResultsOption = RESULTS) -> None:
    """How long from a correction to the first request that carries its skill, through a real gateway and its learner.

    Example: metaclaw bench feedback
    """
    from metaclaw.bench.feedback import main

    main(results)


@app.command()
def trainer(
    model: Annotated[str, typer.Option(help="An embedded model; the smallest is trained in float32.")] = "smollm2-135m",
    rounds: Annotated[int, typer.Option(min=1, help="How often each has its turn.")] = 3,
    examples: Annotated[int, typer.Option(min=1, help="Conversations to train on.")] = 48,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 3,
    models: Annotated[Path, typer.Option(help="Where models are kept.")] = Path("~/.metaclaw/models"),
    results: ResultsOption = RESULTS,
) -> None:
    """Tokens a second and peak memory of our training loop beside TRL's SFTTrainer. Needs the extra bench-trainer.

    Example: metaclaw bench trainer --model qwen2.5-0.5b --rounds 1
    """
    need("trl", "metaclaw bench trainer", "bench-trainer")
    from metaclaw.bench.trainer.run import Size, main

    main(model, rounds, Size(examples, epochs), models.expanduser(), results)


app.command("workdays")(bench_learning.workdays)
app.command("metaclaw-bench")(bench_learning.metaclaw_bench)
app.command("learning")(bench_learning.learning)
app.command("research")(bench_learning.research)
app.command("peers")(bench_learning.peers)


def _print_checks(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        verdict = "holds" if row["holds"] else "falls short"
        typer.echo(f"{row['bench']}: {row['name']} = {row['value']} (bar: {row['bar']}): {verdict}")
