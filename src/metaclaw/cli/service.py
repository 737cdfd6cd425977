"""`metaclaw service`: the gateway as a service of the user's session, started with it and again when it fails."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings
from metaclaw.cli.service_files import KINDS, MARK, NAME, Kind
from metaclaw.errors import ConfigError, MetaClawError

app = typer.Typer(help="The gateway as a service of your session.", no_args_is_help=True)


class System(StrEnum):
    SYSTEMD = "systemd"
    LAUNCHD = "launchd"


NameOption = Annotated[str, typer.Option(help="The service's name, where there are several.")]
SystemOption = Annotated[System | None, typer.Option(help="Which service manager; else that of this system.")]


@dataclass(frozen=True, slots=True)
class Service:
    kind: Kind
    name: str
    file: Path

    def start_commands(self) -> list[list[str]]:
        return self.kind.start(self.name, self.file, os.getuid())

    def stop_commands(self) -> list[list[str]]:
        return self.kind.stop(self.name, self.file, os.getuid())


@app.command()
def install(
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=1, max=65535)] = None,
    start: Annotated[bool, typer.Option(help="Start it now, and with each session.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    name: NameOption = "metaclaw",
    system: SystemOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a systemd user unit or a launchd agent, show it, and start it. Keys belong in the settings file, not here.

    Example: metaclaw service install --config ~/.metaclaw/config.toml
    """
    settings = load_settings(config, data_dir)  # what cannot be started is not installed
    service = _service(name, system)
    logs = settings.home / "logs"
    try:
        text = service.kind.text(name, _command(port, config, data_dir), logs)
    except ValueError as error:
        raise ConfigError(f"This cannot be written into a unit: {error}.") from error
    _require_ours(service)
    if not as_json:
        typer.echo(f"--- {service.file}\n{text}---")
    if not dry_run:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        service.file.parent.mkdir(parents=True, exist_ok=True)
        service.file.write_text(text, encoding="utf-8")
    ran = _run(service.start_commands()) if start and not dry_run else []
    _tell(service, {"written": not dry_run, "text": text, "ran": ran}, as_json=as_json)
    if not as_json and not dry_run and service.kind.name == "systemd":
        typer.echo("It runs while you are logged in; `loginctl enable-linger` has it run without that.")


@app.command()
def uninstall(
    name: NameOption = "metaclaw", system: SystemOption = None, as_json: JsonOption = False
) -> None:
    """Stop the service and remove what `install` wrote. What was learned stays.

    Example: metaclaw service uninstall
    """
    service = _service(name, system)
    if not service.file.exists():
        raise MetaClawError(f"There is no {service.file}: nothing is installed.")
    _require_ours(service)
    ran = _run(service.stop_commands(), must_succeed=False)
    service.file.unlink()
    _tell(service, {"removed": True, "ran": ran}, as_json=as_json)


@app.command()
def status(
    name: NameOption = "metaclaw", system: SystemOption = None, as_json: JsonOption = False
) -> None:
    """Whether the service is installed and runs: exit code 0 where it does, 1 where not.

    Example: metaclaw service status
    """
    service = _service(name, system)
    installed = service.file.exists()
    asked = service.kind.status(name, os.getuid())
    told = _ask(asked) if installed else None
    runs = told is not None and told.returncode == 0
    if as_json:
        typer.echo(json.dumps({"file": str(service.file), "installed": installed, "runs": runs}))
    elif not installed:
        typer.echo(f"not installed ({service.file}): metaclaw service install")
    else:
        said = (told.stdout or told.stderr).strip().partition("\n")[0] if told else f"{asked[0]} is not here"
        typer.echo(f"{service.file}: {'runs' if runs else 'does not run'} ({said})")
    if not runs:
        raise typer.Exit(1)


def _service(name: str, system: System | None) -> Service:
    if not NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is no name of a service: small letters, digits and -, beginning with a letter.")
    kind = KINDS[system or ("launchd" if sys.platform == "darwin" else "systemd")]
    return Service(kind, name, kind.file(name, Path.home(), os.environ))


def _command(port: int | None, config: Path | None, data_dir: Path | None) -> list[str]:
    """With absolute paths: a service starts elsewhere."""
    command = [sys.executable, "-m", "metaclaw", "start"]
    for flag, path in (("--config", config), ("--data-dir", data_dir)):
        command += [flag, str(path.expanduser().absolute())] if path else []
    return command + (["--port", str(port)] if port else [])


def _require_ours(service: Service) -> None:
    if service.file.exists() and MARK not in service.file.read_text(encoding="utf-8", errors="replace"):
        raise MetaClawError(f"{service.file} is there and was not written by us. Move it away, or say another --name.")


def _run(commands: Sequence[Sequence[str]], *, must_succeed: bool = True) -> list[str]:
    """The commands that were run. Raises `MetaClawError` with the rest for the person to run, where one fails."""
    ran: list[str] = []
    for number, command in enumerate(commands):
        told = _ask(command)
        if must_succeed and (told is None or told.returncode):
            why = told.stderr.strip() if told else f"{command[0]} is not here"
            rest = " && ".join(shlex.join(one) for one in commands[number:])
            raise MetaClawError(f"The file is written, and not started ({why}). Where your session runs: {rest}")
        ran.append(shlex.join(command))
    return ran


def _ask(command: Sequence[str]) -> subprocess.CompletedProcess[str] | None:
    """None where there is no such program."""
    program = shutil.which(command[0])
    if program is None:
        return None
    return subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)


def _tell(service: Service, done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"file": str(service.file), "system": service.kind.name, **done}))
        return
    for command in done["ran"]:
        typer.echo(f"ran: {command}")
    if done.get("removed"):
        typer.echo(f"removed {service.file}")
