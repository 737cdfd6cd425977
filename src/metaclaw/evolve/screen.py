"""The static gate: may this text become a skill at all? Pure.

A proposal is untrusted. It must be a valid skill, free of secrets, and must not try to take over the agent that reads
it. What fails here is refused with a reason, and kept nowhere but in the learner's log.
"""

from __future__ import annotations

import re

from metaclaw.errors import SkillError
from metaclaw.journal.redact import Redactor
from metaclaw.library.skillfile import check
from metaclaw.types import Skill

TAKEOVER = re.compile(
    r"ignore (?:all |any |the )?(?:previous|prior|above|other) (?:instructions|rules|messages)"
    r"|disregard (?:all |any |the )?(?:previous|prior|above|safety)"
    r"|you are now\b|new system prompt|reveal (?:the|your) (?:system prompt|instructions|api key|token)"
    r"|(?:send|post|upload|exfiltrate|forward) .{0,60}(?:https?://|\bto [\w.+-]+@)"
    r"|(?:curl|wget)\b.{0,80}\|\s*(?:ba|z)?sh|rm -rf [/~]"
    r"|(?:disable|turn off|bypass) .{0,30}(?:check|guard|safety|sandbox|auth)"
    r"|</?(?:system|learned-skills|system-reminder)\b",
    re.IGNORECASE | re.DOTALL,
)


def objections(skill: Skill, redactor: Redactor) -> list[str]:
    """Why the skill must not be published; empty when nothing stands against it."""
    found = []
    try:
        check(skill)
    except SkillError as error:
        found.append(str(error))
    text = "\n".join([skill.name, skill.description, skill.body, *(written for _, written in skill.files)])
    takeover = TAKEOVER.search(" ".join(text.split()))  # a line break hides nothing
    if takeover:
        found.append(f"reads like an attempt to take over the agent: '{takeover.group(0)[:80]}'")
    if redactor.text(text) != text:
        found.append("holds something that looks like a secret")
    return found
