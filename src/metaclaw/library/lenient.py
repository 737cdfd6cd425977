"""A stranger's SKILL.md as a skill of ours: what the world writes is mended where its meaning is plain. Pure.

In: a folder's name and the bytes of SKILL.md and scripts. Out: a valid instruction skill with notes on what was changed
or left out. Raises `SkillError` for what cannot become one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.library import folder as disk
from metaclaw.library.skillfile import FILE, MAX_DESCRIPTION, MAX_FILES, MAX_NAME, check, front_matter, split
from metaclaw.types import Skill

ORIGIN = "import"
KNOWN_KEYS = {"name", "description", "when_to_use", "license", "metadata", "compatibility", "version"}
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Zero-width spaces, marks that turn the direction of reading, and the tag and selector blocks that carry hidden text.
HIDDEN = re.compile(
    "[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
LOOSE_KEY = re.compile(r"^(name|description|when_to_use)[ \t]*:[ \t]*(.*(?:\n[ \t]+.*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lenient:
    """`hidden` tells that the text held characters that nobody sees, now taken out."""

    skill: Skill
    notes: tuple[str, ...]
    hidden: bool


def as_skill(folder_name: str, files: Mapping[str, bytes], others: Sequence[str] = ()) -> Lenient:
    """The skill that these bytes mean. `others` are the paths that are left out."""
    notes: list[str] = []
    text = _decoded(files[disk.SKILL_FILE])
    clean = CONTROLS.sub("", HIDDEN.sub("", text))
    hidden = HIDDEN.search(text) is not None
    if hidden:
        notes.append("characters that nobody sees were taken out")
    matter, body = _matter_and_body(clean, notes)
    skill = Skill(
        _name(str(matter.get("name") or folder_name), notes), _description(matter, body, notes), body, origin=ORIGIN,
        files=_scripts(files, notes),
    )
    if ignored := sorted(str(key) for key in matter if key not in KNOWN_KEYS):
        notes.append(f"these keys mean nothing here: {', '.join(ignored)[:200]}")
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        notes.append(f"left out: {', '.join(sorted(others)[:3])}{more}")
    check(skill)
    return Lenient(skill, tuple(_printable(note) for note in notes), hidden)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise SkillError("SKILL.md is not UTF-8 text") from error


def _matter_and_body(text: str, notes: list[str]) -> tuple[Mapping[str, Any], str]:
    try:
        front, body = split(text)
    except SkillError:
        notes.append("it had no front matter")
        return {}, text.strip()
    try:
        return front_matter(front), body
    except SkillError:  # mostly a colon in a description without quotes
        notes.append("its front matter is not valid YAML: its name and description were read line by line")
        return {key: " ".join(said.split()).strip("'\"") for key, said in LOOSE_KEY.findall(front)}, body


def _name(wanted: str, notes: list[str]) -> str:
    plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_NAME].strip("-")
    if not name:
        raise SkillError(f"its name, {_printable(wanted)[:80]!r}, has no letter or digit that a name may have")
    if name != wanted:
        notes.append(f"its name was {_printable(wanted)[:80]!r}")
    return name


def _description(matter: Mapping[str, Any], body: str, notes: list[str]) -> str:
    said = " ".join(str(matter.get(key) or "") for key in ("description", "when_to_use")).strip()
    if not said:
        notes.append("it had no description: its first words stand for one")
        said = next((line.strip("#*> \t") for line in body.splitlines() if line.strip("#*>- \t")), "")
    said = " ".join(said.split())
    if len(said) > MAX_DESCRIPTION:
        notes.append(f"its description was cut to {MAX_DESCRIPTION} characters")
        said = said[: MAX_DESCRIPTION - 1].rsplit(" ", 1)[0] + "…"
    return said


def _scripts(files: Mapping[str, bytes], notes: list[str]) -> tuple[tuple[str, str], ...]:
    """The scripts that can be kept, as text. They are a record, and never run."""
    kept, size = [], 0
    for path, content in sorted(files.items()):
        if path == disk.SKILL_FILE:
            continue
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = ""
        size += len(text)
        if not text or not FILE.fullmatch(path) or size > MAX_FILES:
            notes.append(f"left out: {path}")
            size -= len(text)
        else:
            kept.append((path, text))
    if kept:
        notes.append(f"kept and never run: {', '.join(path for path, _ in kept)}")
    return tuple(kept)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
