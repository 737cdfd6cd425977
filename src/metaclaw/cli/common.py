"""What the commands share: settings, the rooms that a command reads, and how a person is asked."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from metaclaw import logs
from metaclaw.carrying import Carrying
from metaclaw.cli.options import ConfigOption as ConfigOption
from metaclaw.cli.options import DataDirOption as DataDirOption
from metaclaw.cli.options import JsonOption as JsonOption
from metaclaw.cli.options import YesOption as YesOption
from metaclaw.config.loading import load
from metaclaw.config.secret import known_secrets
from metaclaw.config.settings import Settings
from metaclaw.errors import ConfigError, SkillError
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.library.edits import Edits
from metaclaw.runtime.home import Home
from metaclaw.runtime.library import carrying_of, edits_of
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.receipts import Receipts
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.visible import visible as visible

WAITS = 3  # exit code: not all was done, since something waits for a person


def load_settings(config: Path | None, data_dir: Path | None, flags: Mapping[str, Any] | None = None) -> Settings:
    return load(config, {**(flags or {}), **({"data_dir": str(data_dir)} if data_dir else {})})


def need(package: str, command: str, extra: str) -> None:
    """Raises `ConfigError` where the package is not installed, which says how it gets here."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"`{command}` needs the package {package}: pip install 'metaclaw[{extra}]'.")


def log_to_stderr(settings: Settings, process: str) -> None:
    """As the settings have it, with every key that they hold masked."""
    logs.install(settings.log.format, settings.log.level, process, Redactor(known_secrets(settings)).text)


@dataclass(frozen=True, slots=True)
class Rooms:
    catalog: Catalog
    registry: Registry
    routes: Routes
    promotions: Promotions
    carrying: Carrying
    receipts: Receipts
    database: Database


@dataclass(frozen=True, slots=True)
class Library:
    """What a command on skills works with. `database` is for the reads of other rooms."""

    catalog: Catalog
    edits: Edits
    database: Database


@contextmanager
def rooms(settings: Settings) -> Iterator[Rooms]:
    """The rooms of the namespace, over the store; a running gateway sees what is changed here at once."""
    home = Home(settings)
    with Database(home.store) as database:
        registry = Registry(database, settings.namespace, home.adapters)
        routes = Routes(database, settings.namespace)
        catalog = Catalog(database, settings.namespace, home.skills)
        yield Rooms(
            catalog, registry, routes, Promotions(routes, registry, settings.serving.canary_share),
            carrying_of(settings, database, catalog), Receipts(database, settings.namespace), database,
        )


@contextmanager
def library(config: Path | None, data_dir: Path | None) -> Iterator[Library]:
    """The library of the namespace, with what was changed in its folder by hand taken in first, and told."""
    settings = load_settings(config, data_dir)
    home = Home(settings)
    with Database(home.store) as database:
        catalog = Catalog(database, settings.namespace, home.skills)
        edits = edits_of(catalog, Redactor())
        try:
            taken = edits.sweep()
        except OSError as error:
            raise SkillError(f"The library's folder {home.skills} cannot be read: {error.strerror}.") from error
        for one in taken:
            typer.echo(f"taken in from the folder: {one.name}: {one.what}", err=True)
        yield Library(catalog, edits, database)


def interactive() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def agreed(question: str, *, yes: bool) -> bool:
    """Whether the person says so. Raises `SkillError` where nobody is there to be asked."""
    if yes:
        return True
    if not interactive():
        raise SkillError("Nobody is there to be asked: say --yes if you have read it and want it.")
    return typer.confirm(question)
