"""What the commands share: options, settings, and the rooms that a command reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from metaclaw.config import Settings, load
from metaclaw.library.catalog import Catalog
from metaclaw.runtime import Home
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry

ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings.")]
DataDirOption = Annotated[Path | None, typer.Option("--data-dir", help="Where everything is kept.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def load_settings(config: Path | None, data_dir: Path | None, flags: Mapping[str, Any] | None = None) -> Settings:
    return load(config, {**(flags or {}), **({"data_dir": str(data_dir)} if data_dir else {})})


@dataclass(frozen=True, slots=True)
class Rooms:
    catalog: Catalog
    registry: Registry
    routes: Routes


@contextmanager
def rooms(settings: Settings) -> Iterator[Rooms]:
    """The rooms of the namespace, over the store; a running gateway sees what is changed here at once."""
    home = Home(settings)
    with Database(home.store) as database:
        yield Rooms(
            Catalog(database, settings.namespace, home.skills),
            Registry(database, settings.namespace, home.adapters),
            Routes(database, settings.namespace),
        )
