"""The options that most commands take. Imports nothing of ours, so that `metaclaw --help` need not wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.")]
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="Where everything is kept.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
