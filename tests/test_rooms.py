"""The rooms keep to their doors: DESIGN.md section 2's table of imports, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metaclaw

SOURCE = Path(metaclaw.__file__).parent
HEAVY = ("torch", "transformers", "peft", "xllamacpp", "wordllama")
# what the learner builds in its own process
LEARNERS = (
    "metaclaw.evolve.loop", "metaclaw.evolve.curate", "metaclaw.training.job", "metaclaw.scheduler.scheduler",
    "metaclaw.dashboard",
)

COMMON = {"types", "errors", "config", "leash"}
# these build, open, hold, or reach into everything
FREE = {"runtime", "learner", "link", "cli", "__main__", "erasure", "backup", "carrying"}
RULES: dict[str, set[str]] = {
    "wire": {"zstd"}, "client": {"wire"},
    "zstd": set(), "heap": set(), "running": set(), "logs": set(),
    "types": set(), "errors": set(), "config": set(), "leash": set(), "tasks": set(), "store": set(), "dialects": set(),
    "upstream": {"dialects", "wire"}, "sandbox": set(), "scheduler": set(), "connect": set(),
    "gateway": {"context", "dialects", "upstream", "journal", "sandbox", "wire", "telemetry.trace_context"},
    "telemetry": {"dialects", "journal.redact"},
    "context": {"library"},
    "journal": {"store", "zstd", "dialects.reply_message"},  # to keep a reply without a secret that came in pieces
    "signals": {"store", "journal", "dialects", "upstream"},  # it reads what was spoken: tool results, the next words
    "library": {"store"},
    # context.text: what tells a skill from others, for retrieval as for finding one that says the same;
    # context.holdout: what a day of the hold-out is
    "evolve": {
        "library", "signals", "journal", "context.compose", "context.offers", "context.text", "context.holdout",
        "dialects", "upstream", "sandbox",
    },
    # scheduler.leases: the pure rule of who may hold a job, which the table `jobs` writes down
    "training": {"store", "journal", "signals", "dialects", "upstream", "scheduler.leases"},
    "serving": {"store", "training.registry", "signals"},
    "visible": set(),
    # a person's door: the read functions of those who own what is shown, and what it is handed
    "dashboard": {
        "wire", "gateway.auth", "store", "journal.glances", "journal.trajectories", "signals.ledger", "signals.combine",
        "signals.lift", "serving.promotion",
        "library", "evolve.exposures", "training.registry", "training.jobs", "training.telling", "serving.routes",
        "scheduler", "visible",
    },
    "mcp_server": {"library", "sandbox", "gateway.auth"},  # its HTTP stands behind the gateway's own door
}
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("bench.sandbox", "sandbox"): "times calls of a fraction of a millisecond, which the HTTP door would hide",
    ("bench.sandbox", "config"): "says which engine it times, and with which limits",
    ("gateway.feedback", "store"): "hands the handle on to the journal's reads",
    ("bench.signals", "signals"): "measures pure functions, which have no HTTP door",
    ("evolve.loop", "store"): "hands the handle on to journal and signals",
    ("evolve.origins", "store"): "hands the handle on to journal and signals",
    ("evolve.curate", "store"): "hands the handle on to journal and exposures",
    ("evolve.exposures", "store"): "owns the table exposures",
    ("evolve.kin", "store"): "hands the handle on to journal and signals",
    ("evolve.admission", "store"): "hands the handle on to the table of rejected edits and to vouching",
    ("evolve.lessons", "store"): "hands the handle on to the modules that read",
    ("evolve.progress", "store"): "owns the tables cursors and evolve_state",
    ("evolve.trials", "store"): "hands the handle on to journal and signals",
    ("evolve.rejected", "store"): "owns the table rejected_edits",
    ("evolve.vouching", "store"): "hands the handle on to journal and signals",
    ("bench.gateway.library", "library"): "fills a library with ten thousand skills, for which there is no door",
    ("bench.gateway.library", "store"): "opens the library's store",
    ("bench.curation.run", "config"): "retrieves with the default settings",
    ("bench.curation.run", "context"): "asks retrieval for what each of thousands of requests is given",
    ("bench.curation.run", "evolve"): "drives the fast loop and the curator, whose clock it sets",
    ("bench.curation.run", "journal"): "writes the failures as the gateway does",
    ("bench.curation.run", "library"): "counts the live skills",
    ("bench.curation.run", "store"): "opens the store",
    ("bench.workdays.outcome", "signals"): "applies a check to a reply as the gateway will, before it posts it",
    ("bench.workdays.following", "config"): "retrieves with the default settings",
    ("bench.workdays.following", "context"): "asks retrieval for what a request is given",
    ("bench.workdays.following", "dialects"): "reads and injects as the gateway does",
    ("bench.workdays.following", "evolve"): "drives the fast loop and the curator, whose clock it sets",
    ("bench.workdays.following", "journal"): "writes turns and feedback as the gateway does",
    ("bench.workdays.following", "library"): "tells what became of a rule",
    ("bench.workdays.following", "store"): "opens the store",
    ("bench.skills_aa", "context"): "throws the hold-out's coins for sessions that nobody had",
    ("bench.skills_aa", "evolve"): "measures the error of the tests themselves",
    ("bench.skills_aa", "journal"): "writes a million turns' outcomes, for which there is no door",
    ("bench.skills_aa", "signals"): "measures the error of the test of a lift",
    ("bench.skills_aa", "library"): "publishes the skills without effect",
    ("bench.skills_aa", "store"): "opens the store",
    ("bench.feedback", "context"): "its scripted model recognises an injected skill",
    ("bench.gate_aa.asking", "serving"): "opens an arena, as a training job does",
    ("bench.gate_aa.asking", "training"): "puts candidates before the gate itself: 200 training jobs would take days",
    ("bench.gate_aa.asking", "upstream"): "asks its engine over HTTP",
    ("bench.gate_aa.candidates", "training"): "runs the trainer, and writes adapters as it does",
    ("bench.gate_aa.report", "training"): "tells the bar that the gate sets itself",
    ("bench.gate_aa.report", "serving"): "names the ends of a canary's trial",
    ("bench.gate_aa.simulation", "serving"): "simulates the canary's decision, which has no HTTP door",
    ("bench.gate_aa.run", "serving"): "finds the model's weights",
    ("bench.gate_aa.run", "training"): "makes the weights trainable",
    ("bench.gate_aa.simulation", "training"): "measures the error of the decision itself",
    ("bench.poison.run", "context"): "recognises an injected skill, and embeds as the learner does",
    ("bench.poison.run", "dialects"): "reads the text of a message as the gateway does",
    ("bench.poison.run", "evolve"): "drives the fast loop itself: 500 gateways would take an hour",
    ("bench.poison.run", "journal"): "puts the conversations into the journal",
    ("bench.poison.run", "library"): "looks at what became live",
    ("bench.poison.run", "store"): "opens the store",
    ("bench.poison.push", "library"): "names the skill that the evidence speaks for",
    ("bench.poison.push", "store"): "writes tries that nobody had, for which there is no door",
    ("bench.research.pipeline", "sandbox"): "runs experiments that a model wrote, for which there is no HTTP door",
    ("bench.peers.provider", "serving"): "starts the engine with no gateway before it, which is what it compares with",
    ("bench.retrieval.methods", "context"): "measures retrieval in process: its bars are milliseconds",
    ("bench.retrieval.report", "config"): "tells the threshold in use",
    ("bench.retrieval.run", "context"): "builds the index that it measures",
    ("bench.retrieval.start", "config"): "starts with the default settings",
    ("bench.retrieval.start", "context"): "times a start of the gateway's view of the library",
    ("bench.retrieval.start", "store"): "opens the library's store",
    ("bench.retrieval.store", "config"): "measures with the default settings",
    ("bench.retrieval.store", "context"): "times the gateway's view of the library",
    ("bench.retrieval.store", "library"): "publishes skills to be followed",
    ("bench.retrieval.store", "store"): "fills a store with 100,000 skills, for which there is no door",
    ("bench.swap.beside", "training"): "makes the weights trainable",
    ("bench.swap.run", "serving"): "asks for a swap as a command does, without a command's second to begin",
    ("bench.swap.run", "store"): "opens the gateway's store",
    ("bench.swap.run", "training"): "registers its adapters",
    ("bench.workdays.agent", "sandbox"): "hands the sandbox on to the agent's tools",
    ("bench.workdays.playing", "config"): "says with which limits an agent's programs run",
    ("bench.workdays.playing", "sandbox"): "opens the sandbox for the agent's programs",
    ("bench.trainer.our_side", "training"): "runs the trainer itself, at the priority of the other side",
    ("bench.trainer.run", "serving"): "finds the weights that both sides train",
    ("bench.trainer.run", "training"): "starts both sides with threads that do not spin, as the job does",
    ("bench.trainer.trl_side", "training"): "trains the same tokens and the same layers as ours",
    ("bench.workdays.tools", "sandbox"): "runs programs that an agent wrote, for which there is no HTTP door",
    ("scheduler.board", "store"): "owns the table schedule: what people ask of it, and what it tells",
    ("bench.scheduling.days", "scheduler"): "simulates pure decisions, which have no HTTP door",
    ("bench.scheduling.world", "scheduler"): "draws rules and leases for them",
    ("serving.arena", "upstream"): "asks its engine over HTTP",
    ("serving.engine", "upstream"): "says by which route it is reached",
    ("serving.engines", "upstream"): "says by which route an engine is reached",
    ("serving.host", "upstream"): "tells the router of its engines",
    ("serving.local", "upstream"): "checks its engines over HTTP",
    ("serving.vllm", "upstream"): "talks to the server",
    ("serving.watch", "upstream"): "throws the coin that the router throws",
}
LEARNING = {"evolve", "training", "serving", "scheduler", "signals", "library"}


def modules() -> Iterator[tuple[str, Path]]:
    """Module names below `metaclaw`, such as 'gateway.turn'."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def imports(path: Path) -> set[str]:
    """What of `metaclaw` a file imports, wherever in it, as dotted names below it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("metaclaw.") for name in found if name.startswith("metaclaw.")}


def may(module: str, imported: str) -> bool:
    room, other = module.partition(".")[0], imported.partition(".")[0]
    if room in FREE or not room or other == room:
        return True
    if room == "bench":
        return other in {"errors", "types", "leash"}
    allowed = RULES[room] | (COMMON if room not in COMMON else {"errors"})
    return any(f"{imported}.".startswith(f"{door}.") for door in allowed)


def test_every_room_has_a_rule() -> None:
    rooms = {name.partition(".")[0] for name, _ in modules() if name}
    assert rooms - FREE - {"bench"} <= set(RULES)


@pytest.mark.parametrize(("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_a_room_imports_only_what_its_door_lets_in(module: str, path: Path) -> None:
    wrong = {name for name in imports(path) if not may(module, name)}
    assert {name for name in wrong if (module, name.partition(".")[0]) not in EXCEPTIONS} == set()


def test_no_exception_is_left_over() -> None:
    used = {(module, name.partition(".")[0]) for module, path in modules() for name in imports(path)}
    assert set(EXCEPTIONS) <= used


def test_the_gateway_never_imports_a_learning_room() -> None:
    for module, path in modules():
        if module.partition(".")[0] == "gateway":
            assert not {name.partition(".")[0] for name in imports(path)} & LEARNING, module


def test_the_request_path_loads_no_model_library() -> None:
    assert not loaded_by("metaclaw.gateway.app") & {*HEAVY, "numpy"}  # which takes a third of all its import


def test_the_gateways_process_loads_neither_loop_nor_dashboard() -> None:
    assert not loaded_by("metaclaw.runtime.gateway") & {*HEAVY, *LEARNERS}
    assert loaded_by("metaclaw.runtime.learner", "metaclaw.runtime.dashboard") >= set(LEARNERS)


def test_a_learner_that_shows_no_dashboard_loads_none() -> None:
    assert not loaded_by("metaclaw.runtime.learner") & {*HEAVY, "metaclaw.dashboard"}


def loaded_by(*names: str) -> set[str]:
    script = f"import sys, {', '.join(names)}; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    return set(said.split())
