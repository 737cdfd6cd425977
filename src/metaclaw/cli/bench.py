"""`metaclaw bench`: run a benchmark, and what the committed result files say."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from metaclaw.cli.common import JsonOption, need

ALL_DAYS = 1_000  # of the public data, however many there are
WORKDAYS_DIR = Path("~/.metaclaw/bench/workdays")
LEARNING_DIR = Path("~/.metaclaw/bench/learning")
RESEARCH_DIR = Path("~/.metaclaw/bench/research")
PEERS_DIR = Path("~/.metaclaw/bench/peers")
PEERS_VENVS = Path("~/.cache/metaclaw-bench")

ResultsOption = Annotated[Path, typer.Option(help="Folder of the result files.")]
app = typer.Typer(help="Benchmarks and their results.", no_args_is_help=True)


@app.callback()
def bench(context: typer.Context) -> None:
    """Benchmarks and their results."""
    if context.invoked_subcommand != "report":
        need("aiohttp", "metaclaw bench", "demo")


@app.command()
def report(
    results: ResultsOption = Path("bench/results"),
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


@app.command(name="gate-aa")
def gate_aa(
    minutes: Annotated[float, typer.Option(help="Length of this slice; the next one goes on where it ends.")] = 600.0,
    models_dir: Annotated[Path, typer.Option(help="Where model weights are cached.")] = Path("~/.metaclaw/models"),
    results: ResultsOption = Path("bench/results"),
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
    results: ResultsOption = Path("bench/results"),
) -> None:
    """Swaps of real engines under streams, on SmolLM2-135M, and the gateway's latency beside the trainer. Resumable.

    Needs Linux with two processors, cc, taskset and wrk.

    Example: metaclaw bench swap --swaps 50 --minutes 10
    """
    need("torch", "metaclaw bench swap", "train")
    from metaclaw.bench.swap.run import main

    main(swaps, minutes, models_dir.expanduser(), results)


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


@app.command()
def workdays(
    mode: Annotated[
        Literal["single", "agent"], typer.Option(help="One request a question, or an agent with tools.")
    ] = "single",
    arms: Annotated[str, typer.Option(help="Which, with commas between.")] = "frozen,feedback-log,handwritten,skills",
    seeds: Annotated[str, typer.Option(help="Which houses, with commas between.")] = "1",
    days: Annotated[int, typer.Option(help="So many of the 44 days, from the first.")] = 44,
    questions: Annotated[int, typer.Option(help="So many of each day's questions, from its first; 0: all.")] = 0,
    upstream: Annotated[str | None, typer.Option(help="A provider's base URL, with /v1; else ours.")] = None,
    model: Annotated[str | None, typer.Option(help="The provider's model, or another embedded one.")] = None,
    night_every: Annotated[int, typer.Option(help="Days between nights, in which `both` may train.")] = 5,
    price_in: Annotated[float, typer.Option(help="Price of a million prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of a million completion tokens.")] = 0.0,
    run_dir: Annotated[Path, typer.Option(help="Run files and gateways; a run goes on from here.")] = WORKDAYS_DIR,
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("bench/results"),
    prove: Annotated[int, typer.Option(help="Instead: prove the data of so many seeds sound.")] = 0,
    follow: Annotated[
        bool, typer.Option("--follow", help="Instead: what learning loses before a worker who does all he is told.")
    ] = False,
) -> None:
    """934 questions over 44 workdays with house rules that no model can know. Resumable; see docs/benchmarks.md.

    Arms: frozen, feedback-log, handwritten, placebo, shuffled-feedback, skills, weights, both.

    Example: metaclaw bench workdays --arms frozen,skills --days 10
    """
    from metaclaw.bench.workdays.following import main as follow_seeds
    from metaclaw.bench.workdays.playing import Plan
    from metaclaw.bench.workdays.proof import main as prove_seeds
    from metaclaw.bench.workdays.run import COURSE, main

    if prove:
        prove_seeds(range(1, prove + 1))
        return
    if follow:
        follow_seeds(_numbers(seeds), days, Console())
        return
    plan = Plan(
        COURSE, mode, tuple(arms.split(",")), days, upstream, model, night_every, run_dir.expanduser(),
        (price_in, price_out),
    )  # fmt: skip
    main(plan, _numbers(seeds), results, Console(), questions)


@app.command("metaclaw-bench")
def metaclaw_bench(
    data: Annotated[Path, typer.Option(help="The public data: all_tests.json, eval/, workspaces/, sessions/.")],
    variant: Annotated[
        Literal["as-shipped", "repaired"], typer.Option(help="The data's faults as they are, or mended; never mixed.")
    ] = "repaired",
    mode: Annotated[
        Literal["single", "agent"], typer.Option(help="One request a question, or an agent with tools.")
    ] = "single",
    arms: Annotated[str, typer.Option(help="Which, with commas between.")] = "frozen,feedback-log,handwritten,skills",
    upstream: Annotated[str | None, typer.Option(help="A provider's base URL, with /v1; else ours.")] = None,
    model: Annotated[str | None, typer.Option(help="The provider's model, or another embedded one.")] = None,
    days: Annotated[int, typer.Option(min=1, help="So many of its days, from the first.")] = ALL_DAYS,
    night_every: Annotated[int, typer.Option(help="Days between nights, in which `both` may train.")] = 3,
    price_in: Annotated[float, typer.Option(help="Price of a million prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of a million completion tokens.")] = 0.0,
    run_dir: Annotated[Path, typer.Option(help="Run files and gateways; a run goes on from here.")] = WORKDAYS_DIR,
    results: Annotated[Path, typer.Option(help="Folder of the result files.")] = Path("bench/results"),
) -> None:
    """The public MetaClaw-Bench data, with checkers of our own. Resumable; see docs/benchmarks.md.

    Example: metaclaw bench metaclaw-bench --data metaclaw-bench-small --variant as-shipped
    """
    from metaclaw.bench.metaclaw_bench.run import main
    from metaclaw.bench.workdays.playing import Plan

    plan = Plan(
        f"metaclaw-bench-2-{variant}", mode, tuple(arms.split(",")), days, upstream, model, night_every,
        run_dir.expanduser(), (price_in, price_out),
    )  # fmt: skip
    main(plan, data, variant, results, Console())


@app.command()
def trainer(
    model: Annotated[str, typer.Option(help="An embedded model; the smallest is trained in float32.")] = "smollm2-135m",
    rounds: Annotated[int, typer.Option(min=1, help="How often each has its turn.")] = 3,
    examples: Annotated[int, typer.Option(min=1, help="Conversations to train on.")] = 48,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them.")] = 3,
    models: Annotated[Path, typer.Option(help="Where models are kept.")] = Path("~/.metaclaw/models"),
    results: ResultsOption = Path("bench/results"),
) -> None:
    """Tokens a second and peak memory of our training loop beside TRL's SFTTrainer. Needs metaclaw[bench-trainer].

    Example: metaclaw bench trainer --model qwen2.5-0.5b --rounds 1
    """
    need("trl", "metaclaw bench trainer", "bench-trainer")
    from metaclaw.bench.trainer.run import Size, main

    main(model, rounds, Size(examples, epochs), models.expanduser(), results)


@app.command()
def learning(
    seeds: Annotated[str, typer.Option(help="Which streams, with commas between.")] = "1,2,3",
    objectives: Annotated[
        str,
        typer.Option(
            help="What the nights train by, with commas between; the first one's weights are the arm. `none`: no night"
            " trains, and skills alone are measured, in minutes."
        ),
    ] = "distill,sft,grpo",
    days: Annotated[int, typer.Option(min=1, max=8, help="So many of the 8 days, from the first.")] = 8,
    work: Annotated[int, typer.Option(min=1, help="Tasks of each rule in a day.")] = 6,
    exam: Annotated[int, typer.Option(min=1, max=12, help="Tasks of each rule in the evening's exam.")] = 6,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data in a night.")] = 3,
    model: Annotated[str | None, typer.Option(help="Another embedded model.")] = None,
    run_dir: Annotated[Path, typer.Option(help="Run files and gateways; a run goes on from here.")] = LEARNING_DIR,
    results: ResultsOption = Path("bench/results"),
) -> None:
    """Rules arrive day by day, one changes, one is revoked: what do skills, weights and both know, and what is lost?

    Resumable; about a night for each seed and objective on two cores. smollm2-135m shows that it runs, no more.

    Example: metaclaw bench learning --seeds 1 --objectives distill --days 3
    """
    from metaclaw.bench.learning.run import Plan, main
    from metaclaw.bench.learning.stream import Size

    chosen = () if objectives == "none" else tuple(objectives.split(","))
    if wrong := sorted({*chosen} - {"distill", "sft", "grpo"}):
        raise typer.BadParameter(f"'{wrong[0]}' is none of distill, sft, grpo.", param_hint="--objectives")
    plan = Plan(
        _numbers(seeds), chosen, days, Size(work=work, exam=exam), epochs, model,
        run_dir.expanduser() / (model or "default"),
    )  # fmt: skip
    command = f"metaclaw bench learning --seeds {seeds} --objectives {objectives} --days {days}"
    command += f" --work {work} --exam {exam} --epochs {epochs}"
    main(plan, results, command + (f" --model {model}" if model else ""))


@app.command()
def research(
    arms: Annotated[str, typer.Option(help="Which, with commas between.")] = "frozen,skills,both",
    learned_on: Annotated[int, typer.Option(min=1, max=6, help="Studies that the learning arms learn from.")] = 6,
    held_out: Annotated[int, typer.Option(min=1, max=6, help="Studies that nothing is learned from.")] = 6,
    upstream: Annotated[str | None, typer.Option(help="A provider's base URL, with /v1; else ours.")] = None,
    model: Annotated[str | None, typer.Option(help="The provider's model, or another embedded one.")] = None,
    run_dir: Annotated[Path, typer.Option(help="Run files and gateways; a run goes on from here.")] = RESEARCH_DIR,
    results: ResultsOption = Path("bench/results"),
) -> None:
    """A research pipeline of 23 stages with contracts: how much must be done again? Resumable; docs/benchmarks.md.

    Needs bubblewrap, in which the experiments run. Arms: frozen, skills, both.

    Example: metaclaw bench research --arms frozen,skills
    """
    from metaclaw.bench.research.run import Plan, main

    plan = Plan(tuple(arms.split(",")), learned_on, held_out, upstream, model, run_dir.expanduser())
    main(plan, results, Console())


@app.command()
def peers(
    arms: Annotated[
        str, typer.Option(help="Which, with commas between.")
    ] = "raw,feedback-log,first-k,mem0-verbatim,mem0,ace,skills",
    seed: Annotated[int, typer.Option(help="Which house; none that anything was tuned on.")] = 11,
    days: Annotated[int, typer.Option(help="So many of the 44 days, from the first.")] = 5,
    questions: Annotated[int, typer.Option(min=1, help="So many questions of each day, from the first.")] = 5,
    upstream: Annotated[str | None, typer.Option(help="A provider's base URL, with /v1; else ours.")] = None,
    model: Annotated[str | None, typer.Option(help="The provider's model, or another embedded one.")] = None,
    run_dir: Annotated[Path, typer.Option(help="Run files and what was learned; a run goes on from here.")] = PEERS_DIR,
    venvs: Annotated[Path, typer.Option(help="Where mem0 and ACE are installed, once, from PyPI.")] = PEERS_VENVS,
    results: ResultsOption = Path("bench/results"),
) -> None:
    """What else one could put before the same model: mem0, ACE, keyword skills, a log. Resumable; docs/benchmarks.md.

    Arms: raw, feedback-log, first-k, mem0-verbatim, mem0, ace, skills (ours).

    Example: metaclaw bench peers --arms raw,mem0,skills --days 2
    """
    from metaclaw.bench.peers.run import Plan, main

    plan = Plan(
        tuple(arms.split(",")), seed, days, questions, upstream, model, run_dir.expanduser(), venvs.expanduser()
    )
    main(plan, results, Console())


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is not a list of numbers with commas between.") from error


def _print_checks(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        verdict = "holds" if row["holds"] else "falls short"
        typer.echo(f"{row['bench']}: {row['name']} = {row['value']} (bar: {row['bar']}): {verdict}")
