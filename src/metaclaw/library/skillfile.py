"""SKILL.md, the Agent Skills format: strict when written, lenient when read.

A skill is a folder named like the skill with a SKILL.md: YAML front matter (`name`, `description`, `metadata`) and a
Markdown body. Source: the Agent Skills specification (agentskills.io/specification).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from metaclaw.errors import SkillError
from metaclaw.types import Skill, SkillKind, SkillState

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FILE = re.compile(r"scripts(/[A-Za-z0-9_][A-Za-z0-9_.-]*){1,3}")
MAX_FILES = 64_000
STATES = {state.value: state for state in SkillState}
MAX_NAME, MAX_DESCRIPTION, MAX_BODY = 64, 1024, 8_000


def check(skill: Skill) -> None:
    """Raise `SkillError`, with all that is wrong, unless the skill may be written."""
    wrong = []
    if not NAME.fullmatch(skill.name) or len(skill.name) > MAX_NAME:
        wrong.append(f"name '{skill.name}' must be 1-{MAX_NAME} lower-case letters, digits and single hyphens")
    if not 1 <= len(skill.description.strip()) <= MAX_DESCRIPTION:
        wrong.append(f"description must have 1-{MAX_DESCRIPTION} characters, has {len(skill.description.strip())}")
    if not 1 <= len(skill.body.strip()) <= MAX_BODY:
        wrong.append(f"body must have 1-{MAX_BODY} characters, has {len(skill.body.strip())}")
    wrong += [f"'{path}' is no path inside its scripts folder" for path, _ in skill.files if not FILE.fullmatch(path)]
    if sum(len(text) for _, text in skill.files) > MAX_FILES:
        wrong.append(f"its files have more than {MAX_FILES} characters")
    if wrong:
        raise SkillError("; ".join(wrong))


def render(skill: Skill) -> str:
    """The text of SKILL.md. Raises `SkillError` for a skill that breaks the format."""
    check(skill)
    matter = {
        "name": skill.name,
        "description": skill.description.strip(),
        "metadata": {
            "version": str(skill.version), "state": skill.state.value, "origin": skill.origin, "kind": skill.kind.value
        },
    }
    front = yaml.safe_dump(matter, sort_keys=False, allow_unicode=True, width=10_000)
    return f"---\n{front}---\n\n{skill.body.strip()}\n"


def parse(text: str, fallback_name: str = "", files: tuple[tuple[str, str], ...] = ()) -> Skill:
    """A skill from SKILL.md and its other files. Unknown keys are ignored; a missing name is taken from the folder.

    Raises `SkillError` where there is no usable description or body.
    """
    front, body = split(text)
    matter = front_matter(front)
    metadata = matter.get("metadata")
    facts: dict[str, Any] = metadata if isinstance(metadata, dict) else {}
    version = str(facts.get("version", "1"))
    skill = Skill(
        name=str(matter.get("name") or fallback_name),
        description=str(matter.get("description") or "").strip(),
        body=body,
        version=int(version) if version.isdecimal() else 1,
        state=STATES.get(str(facts.get("state")), SkillState.CANDIDATE),
        origin=str(facts.get("origin", "file")),
        kind=SkillKind.CODE if facts.get("kind") == SkillKind.CODE else SkillKind.INSTRUCTION,
        files=files,
    )
    check(skill)
    return skill


def split(text: str) -> tuple[str, str]:
    """The front matter and the body of SKILL.md. Raises `SkillError` where there is no front matter."""
    match = re.match(r"\ufeff?---\s*\n(.*?)\n---[ \t]*\n?(.*)", text, re.DOTALL)
    if match is None:
        raise SkillError("SKILL.md must begin with front matter between two lines of ---.")
    return match.group(1), match.group(2).strip()


def front_matter(text: str) -> dict[str, Any]:
    """What YAML front matter says. Raises `SkillError` for what is no YAML, or no mapping."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise SkillError("SKILL.md: YAML anchors and aliases are not accepted.")
        matter = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none; nesting without end
        raise SkillError(f"SKILL.md: the front matter is not valid YAML: {error}") from error
    if not isinstance(matter, dict):
        raise SkillError("SKILL.md: the front matter must be a mapping.")
    return matter
