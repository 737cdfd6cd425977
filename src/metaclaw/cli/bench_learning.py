"""The commands that measure learning on a real model: workdays, metaclaw-bench, learning, research, peers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

ALL_DAYS = 1_000  # of the public data, however many there are
WORKDAYS_DIR = Path("~/.metaclaw/bench/workdays")
LEARNING_DIR = Path("~/.metaclaw/bench/learning")
RESEARCH_DIR = Path("~/.metaclaw/bench/research")
PEERS_DIR = Path("~/.metaclaw/bench/peers")
PEERS_VENVS = Path("~/.cache/metaclaw-bench")

RESULTS = Path("bench/results")
ResultsOption = Annotated[Path, typer.Option(help="Folder of the result files.")]
UpstreamOption = Annotated[str | None, typer.Option(help="A provider's base URL, with /v1; else ours.")]
ModelOption = Annotated[str | None, typer.Option(help="The provider's model, or another embedded one.")]
ModeOption = Annotated[Literal["single", "agent"], typer.Option(help="One request a question, or an agent with tools.")]
ArmsOption = Annotated[str, typer.Option(help="Which, with commas between.")]
PriceInOption = Annotated[float, typer.Option(help="Price of a million prompt tokens.")]
PriceOutOption = Annotated[float, typer.Option(help="Price of a million completion tokens.")]
RunDirOption = Annotated[Path, typer.Option(help="Run files and gateways; a run goes on from here.")]


def workdays(
    mode: ModeOption = "single",
    arms: ArmsOption = "frozen,feedback-log,handwritten,skills",
    seeds: Annotated[str, typer.Option(help="Which houses, with commas between.")] = "1",
    days: Annotated[int, typer.Option(help="So many of the 44 days, from the first.")] = 44,
    questions: Annotated[int, typer.Option(help="So many of each day's questions, from its first; 0: all.")] = 0,
    upstream: UpstreamOption = None,
    model: ModelOption = None,
    night_every: Annotated[int, typer.Option(help="Days between nights, in which `both` may train.")] = 5,
    price_in: PriceInOption = 0.0,
    price_out: PriceOutOption = 0.0,
    run_dir: RunDirOption = WORKDAYS_DIR,
    results: ResultsOption = RESULTS,
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


def metaclaw_bench(
    data: Annotated[Path, typer.Option(help="The public data: all_tests.json, eval/, workspaces/, sessions/.")],
    variant: Annotated[
        Literal["as-shipped", "repaired"], typer.Option(help="The data's faults as they are, or mended; never mixed.")
    ] = "repaired",
    mode: ModeOption = "single",
    arms: ArmsOption = "frozen,feedback-log,handwritten,skills",
    upstream: UpstreamOption = None,
    model: ModelOption = None,
    days: Annotated[int, typer.Option(min=1, help="So many of its days, from the first.")] = ALL_DAYS,
    night_every: Annotated[int, typer.Option(help="Days between nights, in which `both` may train.")] = 3,
    price_in: PriceInOption = 0.0,
    price_out: PriceOutOption = 0.0,
    run_dir: RunDirOption = WORKDAYS_DIR,
    results: ResultsOption = RESULTS,
) -> None:
    """The public MetaClaw-Bench data, with checkers of our own. Resumable; see docs/benchmarks.md.

    Example: metaclaw bench metaclaw-bench --data metaclaw-bench-small --variant as-shipped
    """
    from metaclaw.bench.metaclaw_bench.run import main
    from metaclaw.bench.workdays.playing import Plan

    plan = Plan(
        f"metaclaw-bench-3-{variant}", mode, tuple(arms.split(",")), days, upstream, model, night_every,
        run_dir.expanduser(), (price_in, price_out),
    )  # fmt: skip
    main(plan, data, variant, results, Console())


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
    run_dir: RunDirOption = LEARNING_DIR,
    results: ResultsOption = RESULTS,
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


def research(
    arms: ArmsOption = "frozen,skills,both",
    learned_on: Annotated[int, typer.Option(min=1, max=6, help="Studies that the learning arms learn from.")] = 6,
    held_out: Annotated[int, typer.Option(min=1, max=6, help="Studies that nothing is learned from.")] = 6,
    upstream: UpstreamOption = None,
    model: ModelOption = None,
    run_dir: RunDirOption = RESEARCH_DIR,
    results: ResultsOption = RESULTS,
) -> None:
    """A research pipeline of 23 stages with contracts: how much must be done again? Resumable; docs/benchmarks.md.

    Needs bubblewrap, in which the experiments run. Arms: frozen, skills, both.

    Example: metaclaw bench research --arms frozen,skills
    """
    from metaclaw.bench.research.run import Plan, main

    plan = Plan(tuple(arms.split(",")), learned_on, held_out, upstream, model, run_dir.expanduser())
    main(plan, results, Console())


def peers(
    arms: ArmsOption = "raw,feedback-log,first-k,mem0-verbatim,mem0,ace,skills",
    seed: Annotated[int, typer.Option(help="Which house; none that anything was tuned on.")] = 11,
    days: Annotated[int, typer.Option(help="So many of the 44 days, from the first.")] = 5,
    questions: Annotated[int, typer.Option(min=1, help="So many questions of each day, from the first.")] = 5,
    upstream: UpstreamOption = None,
    model: ModelOption = None,
    run_dir: Annotated[Path, typer.Option(help="Run files and what was learned; a run goes on from here.")] = PEERS_DIR,
    venvs: Annotated[Path, typer.Option(help="Where mem0 and ACE are installed, once, from PyPI.")] = PEERS_VENVS,
    results: ResultsOption = RESULTS,
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
