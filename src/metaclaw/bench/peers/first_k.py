"""Keyword skill injection of the first k, as the public MetaClaw does by default, on skills of ours. Pure.

Comes in: the texts of the live skills by name, and a request. Goes out: the block that is put into the system prompt.
There, skills are sorted into categories; a request has the first category that holds a skill and one of whose keywords
occurs in it, else the first that holds any. It gets the first 6 skills of no category and the first 10 of its own,
in the order of their folders, whatever the request asks. There, the model that writes a skill names its category; ours
have none, so a skill gets one by the same keywords, or none where there are none. Keywords and wording are our own.
"""

from __future__ import annotations

from collections.abc import Mapping

GENERAL, SPECIFIC = 6, 10
KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "coding": ("code", "function", "debug", "script", "python", "compile", "commit", "refactor"),
    "research": ("research", "paper", "study", "survey", "literature", "citation"),
    "data_analysis": ("data", "csv", "table", "column", "chart", "metric", "statistic", "report"),
    "security": ("security", "password", "credential", "permission", "audit", "encrypt"),
    "communication": ("email", "mail", "message", "letter", "announce", "reply", "minutes"),
    "automation": ("automate", "batch", "backup", "log", "cron", "pipeline"),
    "productivity": ("task", "plan", "schedule", "meeting", "agenda", "deadline", "note", "file"),
}


def category_of(text: str) -> str:
    """The first category whose keyword occurs; empty for none."""
    low = text.lower()
    return next((name for name, words in KEYWORDS.items() if any(word in low for word in words)), "")


def first_k(skills: Mapping[str, str], request: str) -> str:
    """What is injected. `skills` are whole texts by name, of which the first are those of the least names."""
    names = sorted(skills)
    categories = {name: category_of(skills[name]) for name in names}
    held = {category for category in categories.values() if category}
    low = request.lower()
    fitting = (name for name, words in KEYWORDS.items() if name in held and any(word in low for word in words))
    wanted = next(fitting, next((name for name in KEYWORDS if name in held), ""))
    general = [name for name in names if not categories[name]][:GENERAL]
    specific = [name for name in names if categories[name] and categories[name] == wanted][:SPECIFIC]
    blocks = [f"### {name}\n{skills[name]}" for name in [*general, *specific]]
    return "\n\n".join(["## Skills", *blocks]) if blocks else ""
