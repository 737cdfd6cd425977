"""`metaclaw skills import` and `export`: skills of others in, after a person read them; ours out, for any agent."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from metaclaw.cli.common import WAITS, ConfigOption, DataDirOption, JsonOption, Library, agreed, library
from metaclaw.errors import SkillError
from metaclaw.library.export import to_folder, to_zip
from metaclaw.library.foreign import Foreign, read_source
from metaclaw.library.lenient import ORIGIN
from metaclaw.library.mirror import says_the_same
from metaclaw.library.skillfile import render
from metaclaw.types import LIVE_STATES, Skill, SkillState
from metaclaw.visible import visible

KNOWN_FOLDERS = {"claude": "~/.claude/skills", "agents": "~/.agents/skills"}
Outcomes = defaultdict[str, list[str]]


def import_skills(
    source: Annotated[
        str, typer.Argument(help="A folder, a zip, a SKILL.md; `claude` or `agents` for their folders in your home.")
    ],
    only: Annotated[list[str] | None, typer.Option("--only", help="A skill by name; may be given again.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask where the screen finds nothing; hold back the others.")
    ] = False,
    hold: Annotated[bool, typer.Option("--hold", help="Ask nothing: all wait for `metaclaw skills approve`.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in skills of others. Each is shown and asked about; scripts are kept, and never run.

    What you agree to is what was shown: its hash is kept, and the source is not followed. Ends with 3 if any waits, was
    declined, or could not be read.

    Example: metaclaw skills import claude --only pdf-forms
    """
    found = read_source(_place(source))
    if only:
        found = _chosen(found, only)
    done: Outcomes = defaultdict(list)
    with library(config, data_dir) as opened:
        for one in found:
            _take_in(opened, one, done, yes=yes, hold=hold, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({key: done[key] for key in ("imported", "held", "declined", "refused", "unchanged")}))
    if done["held"] or done["declined"] or done["refused"]:
        raise typer.Exit(WAITS)


def export_skills(
    destination: Annotated[
        str, typer.Argument(help="A folder, a file.zip; `claude` or `agents` for their folders in your home.")
    ],
    names: Annotated[list[str] | None, typer.Argument(help="The skills; without names, all that are live.")] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write skills as Agent Skills, for other agents. A folder that MetaClaw did not write is never overwritten.

    What nobody vouches for yet, since it may be somebody else's words, stays here.

    Example: metaclaw skills export agents file-name iso-dates
    """
    place = _place(destination)
    with library(config, data_dir) as opened:
        unvouched = opened.catalog.unvouched()
        skills = [_live(opened, name) for name in names] if names else opened.catalog.live()
    waiting = [skill for skill in skills if skill.ref in unvouched]
    if names and waiting:
        raise SkillError(
            f"Nobody vouches for skill '{waiting[0].name}' yet, whose words may be somebody else's:"
            f" `metaclaw skills approve {waiting[0].name}`, then export it."
        )
    skills = [skill for skill in skills if skill.ref not in unvouched]
    for skill in waiting:
        typer.echo(f"left out {skill.ref}: nobody vouches for it (`metaclaw skills approve {skill.name}`)", err=True)
    if not skills:
        raise SkillError("There is no live skill to export.")
    written = [to_zip(place, skills)] if place.suffix.lower() == ".zip" else to_folder(place, skills)
    if as_json:
        typer.echo(json.dumps({"written": [str(path) for path in written], "skills": [skill.ref for skill in skills]}))
        return
    for path in written:
        typer.echo(f"wrote {path}")


def _take_in(opened: Library, one: Foreign, done: Outcomes, *, yes: bool, hold: bool, as_json: bool) -> None:
    if one.skill is None:
        _tell(done, "refused", one.source, f"refused: {one.problem}", as_json=as_json)
        return
    skill, live = one.skill, _find_live(opened, one.skill.name)
    if live and says_the_same(live, skill):
        _tell(done, "unchanged", skill.name, "is here already, word for word", as_json=as_json)
        return
    try:
        opened.edits.require_no_secret(skill)
    except SkillError as error:
        _tell(done, "refused", one.source, f"refused: {error}", as_json=as_json)
        return
    doubts = _doubts(opened, one, skill, live)
    told = f"imported from {one.source}, sha256 {one.sha256}"
    if not (hold or yes):
        _show(one, skill, live, doubts)
        if not agreed(f"Import '{skill.name}'?", yes=False):
            _tell(done, "declined", skill.name, "was not imported", as_json=as_json)
            return
        doubts = []
    if hold or doubts:
        held = opened.catalog.hold(skill, f"{told}: {'; '.join(doubts) or 'to be looked at'}")
        opened.catalog.note_import(held, one.source, one.sha256)
        what = f"waits: {'; '.join(doubts) or 'held'}. Read it with `metaclaw skills approve {held.name}`"
        _tell(done, "held", held.ref, what, as_json=as_json)
        return
    taken, _ = opened.catalog.publish(skill, SkillState.ACTIVE, f"{told}, approved by a person", [])
    opened.catalog.note_import(taken, one.source, one.sha256)
    _tell(done, "imported", taken.ref, "is live", as_json=as_json)


def _doubts(opened: Library, one: Foreign, skill: Skill, live: Skill | None) -> list[str]:
    """What `--yes` does not answer."""
    doubts = opened.edits.warnings(skill)
    if one.hidden:
        doubts.append("held characters that nobody sees")
    if live and live.origin != ORIGIN:
        doubts.append(f"would take the place of {live.ref}, which came from elsewhere ({live.origin})")
    return doubts


def _show(one: Foreign, skill: Skill, live: Skill | None, doubts: list[str]) -> None:
    """All that the person agrees to; on stderr, since stdout may be read by a script."""
    typer.echo(f"\n{one.source}\nsha256 {one.sha256}\n\n{visible(render(skill))}", err=True)
    for path, text in skill.files:
        typer.echo(f"--- {path} (never run)\n{visible(text)}", err=True)
    for note in one.notes:
        typer.echo(f"note: {note}", err=True)
    for doubt in doubts:
        typer.echo(f"warning: it {doubt}", err=True)
    if live:
        typer.echo(f"It takes the place of {live.ref}; `metaclaw skills rollback {skill.name}` undoes that.", err=True)


def _tell(done: Outcomes, key: str, name: str, what: str, *, as_json: bool) -> None:
    done[key].append(name)
    if not as_json:
        typer.echo(f"{name} {what}")


def _chosen(found: list[Foreign], only: list[str]) -> list[Foreign]:
    by_name: Mapping[str, Foreign] = {one.skill.name: one for one in found if one.skill}
    if missing := [name for name in only if name not in by_name]:
        some = ", ".join(sorted(by_name)[:20])
        raise SkillError(f"No skill '{missing[0]}' is in there. There are: {some}.")
    return [by_name[name] for name in dict.fromkeys(only)]


def _place(said: str) -> Path:
    return Path(KNOWN_FOLDERS.get(said, said)).expanduser()


def _find_live(opened: Library, name: str) -> Skill | None:
    return next((skill for skill in opened.catalog.live() if skill.name == name), None)


def _live(opened: Library, name: str) -> Skill:
    skill = opened.catalog.get(name)
    if skill.state not in LIVE_STATES:
        raise SkillError(f"Skill '{name}' is {skill.state.value}: only what is live is exported.")
    return skill
