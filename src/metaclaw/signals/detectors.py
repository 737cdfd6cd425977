"""What went right or wrong in a turn: pure functions over the turn and what came after it.

Each returns signals with the reason and the words that it rests on; none where it has nothing to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from metaclaw.signals.checks import passes
from metaclaw.types import Feedback, Signal, Turn

MAX_EVIDENCE = 2_000  # characters of a message that are kept with the signal
CORRECTION = re.compile(
    r"^\s*(?:no(?:[,.!:;]| (?=(?:that|this|it|its|it's|you|i|we|the|use|not|don't|never|always|please)\b))"
    r"|nope\b|wrong\b|(?:that|it)(?:'s| is) (?:wrong|not (?:right|correct|what|how|our))|not (?:quite|like that)"
    r"|incorrect\b|you (?:forgot|missed|should have)|i (?:said|meant|told you|asked (?:for|you))\b"
    r"|this is (?:wrong|not)|please (?:redo|fix|correct)"
    r"|actually,? (?:it(?:'s| is| should)|the|we|our|you|use|no)\b)",
    re.IGNORECASE,
)
# Said of a turn these words correct it; in a message of its own they may as well describe the next task.
CORRECTION_IN_FEEDBACK = re.compile(
    r"\b(?:should have been|it should be|we never|we always|must always|must never)\b", re.IGNORECASE
)
BUT = re.compile(r"^[^.!?\n]{0,60}?\b(?:but|however|except)\b[\s,]*", re.IGNORECASE)
NOT_A_CORRECTION = re.compile(
    r"^\s*(?:no (?:problem|worries|rush|need|thanks|idea)\b"
    r"|no,? (?:that(?:'s| is) (?:fine|right|good|perfect|all)|thanks?))",
    re.IGNORECASE,
)
PRAISE = re.compile(
    r"^\s*(?:thanks?\b|thank you|perfect\b|great\b|exactly\b|well done|(?:that(?:'s| is) )?(?:right|correct|it)\b[.!])",
    re.IGNORECASE,
)


def explicit_feedback(turn: Turn, feedback: Sequence[Feedback]) -> list[Signal]:
    """Scores, and texts without a score that read as a correction or as praise."""
    signals = []
    for item in feedback:
        if item.score is not None:
            signals.append(Signal(turn.id, "feedback", item.score, "the client scored it", item.id))
        elif item.text and (value := tone_of_feedback(item.text)):
            signals.append(Signal(turn.id, "feedback", value, "what the client said of it", item.id))
    return signals


def posted_checks(turn: Turn, feedback: Sequence[Feedback]) -> list[Signal]:
    """A check that came with feedback, applied to the reply; an unusable one abstains."""
    signals = []
    for item in feedback:
        if item.check is not None:
            passed = passes(item.check, turn.reply)
            value = None if passed is None else (1.0 if passed else -1.0)
            reason = {None: "the check could not be applied", True: "the check passed", False: "the check failed"}
            signals.append(Signal(turn.id, "check", value, reason[passed], item.id))
    return signals


def next_message(turn: Turn, said_next: str) -> list[Signal]:
    """The user's next message, where it corrects or praises the reply."""
    value = tone(said_next)
    if not value:
        return []
    reason = "the user corrected it in the next message" if value < 0 else "the user was content in the next message"
    return [Signal(turn.id, "next_message", value, reason, said_next[:MAX_EVIDENCE])]


def tone(text: str) -> float:
    """-0.8 for a correction, 0.5 for praise, 0 for neither."""
    if NOT_A_CORRECTION.search(text):
        return 0.5
    if CORRECTION.search(text):
        return -0.8
    if not PRAISE.search(text):
        return 0.0
    turned = BUT.match(text)  # 'Thanks, but ...': what comes after is what counts
    return min(tone(text[turned.end() :]), 0.0) if turned else 0.5


def tone_of_feedback(text: str) -> float:
    """The same for words that are known to be about the turn."""
    return -0.8 if CORRECTION_IN_FEEDBACK.search(text) else tone(text)
