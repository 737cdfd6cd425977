"""Write what is generated: README.md's tree and figures, docs/configuration.md, docs/commands.md and docs/results.html.

`python scripts/reference.py` writes; `--check` only says, with exit code 1, what is out of date.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_command

from metaclaw.bench.demo.report import TITLES
from metaclaw.bench.report.committed import Result, read_all
from metaclaw.bench.report.page import page
from metaclaw.bench.report.wording import in_order, number, title, words
from metaclaw.cli.later import whole
from metaclaw.cli.main import app
from metaclaw.config.settings import ENV_PREFIX, Settings, section_of

ROOT = Path(__file__).resolve().parent.parent
README, CONFIGURATION = ROOT / "README.md", ROOT / "docs" / "configuration.md"
COMMANDS = ROOT / "docs" / "commands.md"
FOLDERS = (  # in the order in which data visits them
    "config", "runtime",
    "store", "wire", "gateway", "dialects", "context", "upstream", "sandbox", "journal", "telemetry", "signals",
    "library", "evolve", "training", "serving", "scheduler", "connect", "connect/clients", "connect/formats",
    "mcp_server", "client", "backup", "dashboard", "cli", "cli/doctor", "bench", "bench/curation", "bench/demo",
    "bench/gate_aa", "bench/gateway", "bench/learning", "bench/metaclaw_bench", "bench/peers", "bench/poison",
    "bench/report", "bench/research", "bench/retrieval", "bench/scheduling", "bench/swap", "bench/trainer",
    "bench/workdays",
)
RESULTS, RESULTS_PAGE = Path("bench") / "results", ROOT / "docs" / "results.html"
DEMO = re.compile(r"(?<=<!-- demo -->\n).*?(?=\n<!-- /demo -->)", re.DOTALL)
MEASURED = re.compile(r"(?<=<!-- measured -->\n).*?(?=\n<!-- /measured -->)", re.DOTALL)
TREE = re.compile(r"(?<=## The tree\n\n).*?(?=\n\n## )", re.DOTALL)


def main(arguments: list[str]) -> int:
    results = committed() if "--check" in arguments else read_all(ROOT / RESULTS)
    wanted = {
        README: readme(README.read_text(encoding="utf-8"), results), CONFIGURATION: configuration(),
        COMMANDS: commands(), RESULTS_PAGE: page(results),
    }  # fmt: skip
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)} is out of date: run python scripts/reference.py", file=sys.stderr)
        else:
            path.write_text(wanted[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


def committed() -> list[Result]:
    """The results as committed: a run of one's own may have written over them since. Outside git, as they are."""
    command = ["git", "archive", "HEAD", RESULTS.as_posix()]
    packed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if packed.returncode != 0:
        return read_all(ROOT / RESULTS)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
        return read_all(Path(folder) / RESULTS)


def readme(text: str, results: Sequence[Result]) -> str:
    """README.md with its generated parts as they should be."""
    by_name = {result.name: result for result in results}
    parts = {TREE: tree(), DEMO: demo(by_name["demo"]), MEASURED: measured(results)}
    for place, part in parts.items():
        text = place.sub(lambda _, part=part: part, text)  # type: ignore[misc]
    return text


def measured(results: Sequence[Result]) -> str:
    """One row a benchmark: what it asks, how many of the figures asked for hold, and which do not."""
    rows = []
    for result in in_order(results, lambda result: result.name):
        head, question = title(result.name)
        failing = [(name, check) for name, check in result.checks.items() if not check.holds]
        short = [f"{words(name)} {number(check.value)} (bar: {check.bar})" for name, check in failing]
        rows.append(f"| {head} | {question} | {result.held} of {len(result.checks)} | {'; '.join(short)} |")
    return "\n".join(["| benchmark | what it asks | hold | what falls short |", "|---|---|---|---|", *rows])


def demo(result: Result) -> str:
    """The committed demo, as a table with its picture; every figure is read from the result file."""
    rows = [
        f"| {TITLES[name]} | {arm.value:.1%} | {arm.ci95[0]:.1%} to {arm.ci95[1]:.1%} | {arm.n} |"
        for name, arm in result.arms.items()
    ]
    checks = [
        f"| {words(name)} | {number(check.value)} | {check.bar} | {'yes' if check.holds else '**no**'} |"
        for name, check in result.checks.items()
    ]
    return "\n".join([
        f"A working week of house conventions that no model can know, on {result.model}, {result.machine}",
        f"(`{result.command}`, commit {result.commit[:10]}, {result.date}, seed {result.seeds[0]}):",
        "", "| arm | held-out tasks right | 95 % interval | n |", "|---|---|---|---|", *rows,
        "", "![Share of held-out tasks right, by arm](bench/results/demo.png)",
        "", "| asked for | figure | bar | holds |", "|---|---|---|---|", *checks,
    ])


def tree() -> str:
    """One line a file: its path and the first sentence of its docstring."""
    package = ROOT / "src" / "metaclaw"
    lines = [entry(path) for path in sorted(package.glob("*.py")) if path.name != "__init__.py"]
    packages = {path.parent.relative_to(package).as_posix() for path in package.rglob("__init__.py")} - {"."}
    if packages != set(FOLDERS):
        sys.exit(f"FOLDERS and the packages differ in {sorted(packages ^ set(FOLDERS))}")
    for folder in FOLDERS:
        lines += ["", f"{folder + '/':28}{first_sentence(package / folder / '__init__.py')}"]
        lines += [entry(path) for path in sorted((package / folder).glob("*.py")) if path.name != "__init__.py"]
    return "Below `src/metaclaw/`:\n\n```\n" + "\n".join(lines) + "\n```"


def entry(path: Path) -> str:
    indent = "" if path.parent.name == "metaclaw" else "  "
    return f"{indent + path.name:28}{first_sentence(path)}"


def first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[.])\s", " ".join(text.split()), maxsplit=1)[0].rstrip(".")


def configuration() -> str:
    rows = "\n".join(settings_rows(Settings, ""))
    return (
        "# Configuration\n\n<!-- Made by scripts/reference.py from src/metaclaw/config/. -->\n\n"
        "Flags win over the environment, the environment over the file (`~/.metaclaw/config.toml`, or `--config FILE`),"
        " the file over the defaults. Unknown keys are refused.\n\n"
        "| key | environment | default | meaning |\n|---|---|---|---|\n" + rows + "\n"
    )


def settings_rows(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        key, section = prefix + name, section_of(field.annotation)
        several = isinstance(field.default, list)
        if section and not several:
            rows += settings_rows(section, f"{key}.")
            continue
        variable = "" if "[" in key else f"`{ENV_PREFIX}{key.upper().replace('.', '__')}`"
        default = "" if field.is_required() or field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{key}` | {variable} | {default} | {' '.join((field.description or '').split())} |")
        if section:
            rows += settings_rows(section, f"{key}[].")
    return rows


def commands() -> str:
    """Every command with what it does, its example and its options, from the code that runs."""
    parts = [
        "# Commands\n\n<!-- Made by scripts/reference.py from src/metaclaw/cli/. -->\n\n"
        "| exit code | means |\n|---|---|\n"
        "| 0 | done; the answer is yes |\n"
        "| 1 | not done: one line on stderr says why and what to do. Also where a question is answered with no:"
        " `doctor`, `service status`, `config check`, `journal search`, `bench report --check` |\n"
        "| 2 | the command line cannot be read |\n"
        "| 3 | not all was done, since something waits for you, or you said no |\n\n"
        "With `--json` standard output holds one JSON document (`journal`: one a line) and nothing else; progress and"
        " warnings go to standard error. Colours and progress are for terminals; `NO_COLOR=1` leaves the colours"
        " out.\n\n"
        "`metaclaw --install-completion` teaches your shell (bash, zsh, fish, PowerShell) to complete all of them."
    ]
    parts += [command_text(path, command) for path, command in leaves("metaclaw", get_command(app))]
    return "\n\n".join(parts) + "\n"


def leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands below one, and it itself where it does something."""
    if getattr(command, "invoke_without_command", False) or not hasattr(command, "commands"):
        yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(f"{path} {name}", whole(below))


def command_text(path: str, command: Any) -> str:
    text, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    usage = " ".join([path, *(argument_text(one) for one in command.params if one.param_type_name == "argument")])
    rows = [
        f"| `{', '.join([*one.opts, *one.secondary_opts])}` | {default_text(one)} | {one.help or ''} |"
        for one in command.params if one.param_type_name == "option"
    ]
    parts = [f"## {path}", " ".join(text.replace("\b", "").split()), f"```\n{example.strip() or usage}\n```"]
    if example:
        parts.insert(1, f"`{usage}`")
    return "\n\n".join([*parts, "\n".join(["| option | default | meaning |", "|---|---|---|", *rows])])


def argument_text(argument: Any) -> str:
    name = f"{argument.name.upper()}{'...' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def default_text(option: Any) -> str:
    value = option.default
    plain = isinstance(value, str | int | float | Path) and not isinstance(value, bool) and str(value)
    return f"`{value}`" if plain else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
