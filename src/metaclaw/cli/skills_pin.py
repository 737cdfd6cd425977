"""`metaclaw skills pin` and `unpin`: whether a skill may be measured, merged and retired without a person's word, and
whether it is in every request.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, library
from metaclaw.cli.skills_change import NameArgument


def pin(
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "by a person",
    always: Annotated[
        bool, typer.Option("--always", help="Put it into every request, whatever is asked; without it again, no more.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a skill as it is: it is never withheld to be measured, and never merged away or retired by evidence.

    Example: metaclaw skills pin british-english --always --reason "in all that we write"
    """
    with library(config, data_dir) as opened:
        generation = opened.catalog.pin(name, reason, always=always)
    _say(name, generation, pinned=True, always=always, as_json=as_json)


def unpin(
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "by a person",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Undo `pin`: the skill is measured again, and evidence may retire it.

    Example: metaclaw skills unpin release-notes
    """
    with library(config, data_dir) as opened:
        generation = opened.catalog.unpin(name, reason)
    _say(name, generation, pinned=False, as_json=as_json)


def _say(name: str, generation: int, *, pinned: bool, always: bool = False, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"name": name, "pinned": pinned, "always": always, "generation": generation}))
        return
    what = "stays as it is" if pinned else "is measured like any other"
    what += ", and is in every request" if always else ""
    typer.echo(f"{name} {what} (generation {generation})")
