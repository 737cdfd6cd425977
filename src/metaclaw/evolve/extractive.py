"""A skill from the user's own words, in milliseconds and without a model.

In: a failure with a correction. Out: an instruction skill that quotes the rule and carries the failed request with its
right answer as the example; or None when the user gave no words of their own. What the user only passed on (a mail, a
page) is left out. Measured: a concrete example in the skill mattered more to a small model than the wording of the
rule.
"""

from __future__ import annotations

import re

from metaclaw.evolve.failure import Failure
from metaclaw.evolve.quoting import GAP
from metaclaw.evolve.telling import STOP_WORDS
from metaclaw.types import Skill

MAX_RULE, MAX_REQUEST = 1_200, 200  # with the longest answer still inside the default budget of a prompt
MIN_WORDS, MIN_CHARACTERS = 4, 20  # the second for scripts that put no blanks between words
RULE_LEAD = "Rule, in the user's words: "
ELSEWHERE = "requests of another kind."
LEAD_IN = re.compile(
    r"^\s*(?:(?:no|nope|wrong|incorrect|sorry|not (?:right|correct|quite(?: right)?))\b)?[\s,.:!]*"
    r"(?:(?:that|this)(?:'s| is) (?:wrong|not (?:right|correct|how we [\w ]{2,30}|our [\w ]{2,30}|what [\w ]{2,30}))"
    r"(?: for us)?[.,:!]\s*)?",
    re.IGNORECASE,
)
LED_TO_A_GAP = re.compile(rf"[^.!?。！？\n]*(?:[:：]\n)?\s*{re.escape(GAP)}")  # 'the page says [...]' is no rule


def propose(failure: Failure) -> Skill | None:
    """The user's correction as a skill, or None where it has too few words to be a rule."""
    return _skill(failure, failure.words.own)


def as_passed_on(failure: Failure) -> Skill | None:
    """The same from all that the message holds, whoever said it: for a person to decide on."""
    return _skill(failure, failure.correction)


def _skill(failure: Failure, words: str) -> Skill | None:
    rule = LEAD_IN.sub("", LED_TO_A_GAP.sub("", words).strip(), count=1).strip(" ,;\n").lstrip(".")
    enough = len(rule.split()) >= MIN_WORDS and GAP not in words  # beside others' text, a few words only lead to it
    if not enough and len(rule) < MIN_CHARACTERS:
        return None
    request = failure.example[:MAX_REQUEST].strip()
    if len(request.replace(GAP, " ").split()) < MIN_WORDS:  # all of it is somebody else's text: the rule says when
        request = ""
    cue = failure.cue
    return Skill(
        name=name_for(request, rule),
        description=f"How this user wants it done. Use for requests like: {request or rule[:MAX_REQUEST]}",
        body=body_for(rule[0].upper() + rule[1:MAX_RULE], request, failure.expected),
        origin="extractive",
        cues=((failure.turn.id, cue),) if cue and cue != request else (),
    )


def body_for(rule: str, request: str, answer: str, not_for: str = ELSEWHERE) -> str:
    """Rule, when not to apply it, then one worked example. It ends with the answer: small models copy an end."""
    parts = [f"{RULE_LEAD}{rule}", f"Not for: {not_for}"]
    if answer:
        parts.append("The example shows the form; take names, dates and numbers from the request at hand.")
        parts.append(f"Example request: {request}\nRight answer:\n{answer}" if request else f"Right answer:\n{answer}")
    elif request:
        parts.append(f"It was said of this request: {request}")
    return "\n\n".join(parts)


def rule_in(body: str) -> str:
    """The rule alone of a body that `body_for` made; of another, all of it."""
    return body.partition("\n\n")[0].removeprefix(RULE_LEAD) if body.startswith(RULE_LEAD) else body


def name_for(request: str, rule: str) -> str:
    """Up to three telling words that request and rule share, else the request's own; in the request's order."""
    spoken = request or re.sub(r"`+[^`]*`+", " ", rule)
    asked = [word for word in re.findall(r"[a-z]{2,}", spoken.lower()) if word not in STOP_WORDS]
    ruled = set(re.findall(r"[a-z]{2,}", re.sub(r"`+[^`]*`+", " ", rule).lower()))  # without the case's own answer
    ruled |= {word.removesuffix("s") for word in ruled}
    shared = [word for word in asked if word in ruled]
    words = list(dict.fromkeys(shared or asked))[:3]
    return "-".join(words)[:56].strip("-") or "user-rule"
