"""What changed between two versions of a skill, as a unified diff. Pure."""

from __future__ import annotations

import difflib

from metaclaw.types import Skill


def difference(before: Skill | None, after: Skill) -> str:
    """What they say, not where they stand. Empty where they say the same."""
    texts = {path: "" for skill in (before, after) for path in _texts(skill)}
    pieces: list[str] = []
    for path in texts:
        old, new = _texts(before).get(path, ""), _texts(after).get(path, "")
        label = f"{after.name}/{path}"
        pieces += difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True),
            f"{label} (version {before.version if before else 0})", f"{label} (version {after.version})",
        )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in pieces)


def _texts(skill: Skill | None) -> dict[str, str]:
    if skill is None:
        return {}
    told = f"name: {skill.name}\ndescription: {skill.description}\nkind: {skill.kind.value}\n\n{skill.body}\n"
    return {"SKILL.md": told, **dict(skill.files)}
