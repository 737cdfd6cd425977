"""The commands that change a skill: add, edit, approve, reject, retire, merge, and rolling any of it back."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from metaclaw.cli.common import (
    WAITS,
    ConfigOption,
    DataDirOption,
    JsonOption,
    Library,
    YesOption,
    agreed,
    library,
)
from metaclaw.errors import SkillError
from metaclaw.library import folder as disk
from metaclaw.library.mirror import PERSON
from metaclaw.library.skillfile import MAX_DESCRIPTION, check, parse, render
from metaclaw.types import LIVE_STATES, Skill, SkillKind, SkillState
from metaclaw.visible import visible

NameArgument = Annotated[str, typer.Argument(help="The skill's name.")]
FileOption = Annotated[str | None, typer.Option("--file", help="A SKILL.md with the text; - reads it from stdin.")]


def add(
    name: Annotated[str | None, typer.Argument(help="Its name; with --file, the one in the file.")] = None,
    description: Annotated[str, typer.Option(help="When it applies, in a sentence.")] = "",
    body: Annotated[str, typer.Option(help="The rule, best with an example.")] = "",
    file: FileOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a skill of your own; it is live in the next request.

    Example: metaclaw skills add iso-dates --description "When a date is written." --body "Dates look like 2026-01-31."
    """
    if file is not None:
        skill = parse(_text_of(file), name or "")
        if name and skill.name != name:
            raise SkillError(f"The file's name is '{skill.name}', not '{name}'.")
    else:
        skill = Skill(name or "", description, body)
    check(skill)
    if skill.kind is SkillKind.CODE:
        raise SkillError("A code skill is a folder with scripts: put it into the library's folder.")
    with library(config, data_dir) as opened:
        if _is_live(opened, skill.name):
            raise SkillError(f"There is a skill '{skill.name}': `metaclaw skills edit {skill.name}` changes it.")
        _admit(opened, skill, "added by a person", as_json=as_json)


def edit(
    name: NameArgument,
    file: FileOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change a skill in your editor ($VISUAL or $EDITOR); what you save is live in the next request.

    Example: metaclaw skills edit file-name
    """
    with library(config, data_dir) as opened:
        start = _text_to_edit(opened, name)
        text = _text_of(file) if file is not None else _edited(start, name)
        if text == start:
            typer.echo("Nothing was changed.", err=True)
            raise typer.Exit(WAITS)
        skill = _parsed(text, name, opened, keep=file is None)
        with opened.catalog.mirror.locked():
            if (seen := opened.catalog.mirror.seen(name)) and seen.problem:
                opened.catalog.mirror.discard(name)
            _admit(opened, skill, "edited by a person", as_json=as_json)


def approve(
    name: NameArgument,
    yes: YesOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a skill go live that waits for you, or vouch for one on trial that came out of a conversation.

    Shows it, and why it waits, and asks.

    Example: metaclaw skills approve release-notes
    """
    with library(config, data_dir) as opened:
        waiting = _on_hearsay(opened, name) or _candidate(opened, name)
        on_trial = waiting.state is SkillState.TRIAL
        if not as_json:
            _show_waiting(opened, waiting)
        if not agreed(f"Vouch for {waiting.ref}?" if on_trial else f"Let {waiting.ref} go live?", yes=yes):
            typer.echo("It goes on waiting.")
            raise typer.Exit(WAITS)
        opened.catalog.approve(waiting, "approved by a person")
        _say(opened, opened.catalog.get(name), "is active" if on_trial else "is live", as_json=as_json)


def reject(
    name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Refuse a skill that waits for you, or throw a broken edit of its file away.

    Example: metaclaw skills reject release-notes
    """
    with library(config, data_dir) as opened:
        catalog = opened.catalog
        waiting = catalog.candidate(name)
        seen = catalog.mirror.seen(name)
        if waiting:
            catalog.change_state(waiting, SkillState.RETIRED, "rejected by a person")
            _say(opened, dataclasses.replace(waiting, state=SkillState.RETIRED), "was rejected", as_json=as_json)
        elif seen and seen.problem and _is_live(opened, name):
            with catalog.mirror.locked():
                catalog.mirror.discard(name)
                catalog.follow(name)
            _say(opened, catalog.get(name), "stands in its file again", as_json=as_json)
        else:
            _candidate(opened, name)  # tells what is there instead


def rollback(
    name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Undo the last change of a skill: an edit, a merge, a retirement. The next request sees it.

    Example: metaclaw skills rollback file-name
    """
    with library(config, data_dir) as opened:
        restored, generation = opened.catalog.rollback(name, "rolled back by a person")
    if as_json:
        typer.echo(json.dumps({"skill": asdict(restored) if restored else None, "generation": generation}))
        return
    now = f"its text of before is live as {restored.ref}" if restored else "no version of it is live"
    typer.echo(f"{name}: {now} (generation {generation})")


def retire(
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "retired by a person",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a skill out of use. `metaclaw skills rollback` brings it back.

    Example: metaclaw skills retire file-name --reason "we changed the convention"
    """
    with library(config, data_dir) as opened:
        opened.catalog.retire(name, reason)
        _say(opened, opened.catalog.get(name), "is out of use", as_json=as_json)


def merge(
    into: Annotated[str, typer.Argument(help="The skill that stays.")],
    other: Annotated[str, typer.Argument(help="The skill whose text it takes in; it is retired.")],
    file: FileOption = None,
    in_editor: Annotated[bool, typer.Option("--edit", help="Open the joined text in your editor first.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make one skill of two. One rollback of the first undoes it all.

    Example: metaclaw skills merge file-names name-of-files --edit
    """
    with library(config, data_dir) as opened:
        gone = _live(opened, other)
        joined = _joined(_live(opened, into), gone)
        if file is not None or in_editor:
            text = _text_of(file) if file is not None else _edited(render(joined), into)
            joined = _parsed(text, into, opened, keep=file is None)
        opened.edits.require_no_secret(joined)
        merged, _ = opened.catalog.publish(
            dataclasses.replace(joined, origin=PERSON), SkillState.ACTIVE, f"merged with {other} by a person", [],
            merging=[gone],
        )
        _say(opened, merged, f"speaks for {other} too", as_json=as_json)


def _joined(one: Skill, other: Skill) -> Skill:
    if one.name == other.name:
        raise SkillError("These are the same skill.")
    if SkillKind.CODE in (one.kind, other.kind):
        raise SkillError("Code skills cannot be merged: edit one, and retire the other.")
    both = f"{one.description.strip()} {other.description.strip()}"
    return dataclasses.replace(
        one, description=both if len(both) <= MAX_DESCRIPTION else one.description,
        body=f"{one.body.strip()}\n\n{other.body.strip()}",
    )


def _admit(opened: Library, skill: Skill, what: str, *, as_json: bool) -> None:
    admitted = opened.edits.admit(skill, what)
    waits = admitted.state is SkillState.CANDIDATE
    _say(opened, admitted, "waits for its tests" if waits else "is live", as_json=as_json)
    if waits:
        raise typer.Exit(WAITS)


def _say(opened: Library, skill: Skill, what: str, *, as_json: bool) -> None:
    """Tell of a change, and of what the screen says against the text."""
    generation = opened.catalog.generation()
    warnings = opened.edits.warnings(skill) if skill.state in LIVE_STATES else []
    if as_json:
        told: dict[str, Any] = {"skill": asdict(skill), "generation": generation, "warnings": warnings}
        typer.echo(json.dumps(told))
        return
    for warning in warnings:
        typer.echo(f"warning: {skill.name} {warning}", err=True)
    typer.echo(f"{skill.ref} {what} (generation {generation})")


def _show_waiting(opened: Library, waiting: Skill) -> None:
    typer.echo(visible(render(waiting)))
    for path, text in waiting.files:
        typer.echo(f"--- {path}\n{visible(text)}")
    reason = next(c.reason for c in reversed(opened.catalog.changes_of(waiting.name)) if c.version == waiting.version)
    typer.echo(f"It waits because: {visible(reason)}")
    for warning in opened.edits.warnings(waiting):
        typer.echo(f"warning: it {warning}")


def _on_hearsay(opened: Library, name: str) -> Skill | None:
    """What is on trial by this name and wants somebody to vouch for it, where nothing else waits."""
    if opened.catalog.candidate(name) or not _is_live(opened, name):
        return None
    live = opened.catalog.get(name)
    return live if live.ref in opened.catalog.unvouched() else None


def _candidate(opened: Library, name: str) -> Skill:
    waiting = opened.catalog.candidate(name)
    if waiting is None:
        now = opened.catalog.get(name).state.value
        raise SkillError(f"No version of skill '{name}' waits for you: it is {now}.")
    return waiting


def _live(opened: Library, name: str) -> Skill:
    skill = opened.catalog.get(name)
    if skill.state not in LIVE_STATES:
        raise SkillError(f"Skill '{name}' is {skill.state.value}: it is not in use.")
    return skill


def _is_live(opened: Library, name: str) -> bool:
    return any(skill.name == name for skill in opened.catalog.live())


def _text_to_edit(opened: Library, name: str) -> str:
    """A broken file as it stands, else what is live or newest."""
    seen = opened.catalog.mirror.seen(name)
    raw = disk.read(opened.catalog.folder, name) if seen and seen.problem else None
    if raw and raw.files:
        return dict(raw.files)[disk.SKILL_FILE].decode(errors="replace")
    return render(opened.catalog.get(name))


def _parsed(text: str, name: str, opened: Library, *, keep: bool) -> Skill:
    """What was written, with the scripts that the skill has. A text that cannot be used is kept for another try."""
    try:
        files = next((skill.files for skill in opened.catalog.all() if skill.name == name), ())
        skill = parse(text, name, files)
        if skill.name != name:
            raise SkillError(f"its name is now '{skill.name}'; a new name is a new skill: `metaclaw skills add`")
    except SkillError as error:
        if not keep:
            raise
        with tempfile.NamedTemporaryFile("w", suffix=".md", prefix=f"{name}-", delete=False, encoding="utf-8") as kept:
            kept.write(text)
        raise SkillError(f"{error}. Your text is in {kept.name}: mend it and use --file.") from error
    return skill


def _text_of(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SkillError(f"{file} cannot be read as text: {error}.") from error


def _edited(text: str, name: str) -> str:
    """What the person's editor leaves of a text."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="metaclaw-") as folder:
        path = Path(folder) / f"{name}.md"
        path.write_text(text, encoding="utf-8")
        try:
            ended = subprocess.run([*shlex.split(editor), str(path)], check=False)
        except (OSError, ValueError) as error:
            raise SkillError(f"The editor '{editor}' does not start: {error}. Set $EDITOR, or use --file.") from error
        if ended.returncode:
            raise SkillError(f"The editor '{editor}' ended with code {ended.returncode}: nothing was changed.")
        return path.read_text(encoding="utf-8")
