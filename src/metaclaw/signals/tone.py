"""Does a user's message correct the last reply, praise it, or neither? The words for it are in `phrases`.

In: the user's own words, boilerplate removed. Out: a `Tone` with the words that decided. Only the beginning counts, and
only what the user says, not what is quoted: a message that goes on to the next task may hold any word.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from metaclaw.signals.phrases import phrases

MAX_READ = 1_500  # characters; who corrects a reply says so at the beginning
MAX_SENTENCES = 4
MAX_SENTENCE = 400
WRONG, CONTENT = -0.8, 0.5

QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]{0,400}\"|“[^”\n]{0,400}”|„[^”“\n]{0,400}[”“]|«[^»\n]{0,400}»"
    r"|「[^」\n]{0,400}」|『[^』\n]{0,400}』|(?<!\w)['‘][^'’\n]{1,400}['’](?!\w)|^>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
SENTENCE = re.compile(r"[^.!?。！？…\n]+(?:[.!?…](?=\S)[^.!?。！？…\n]+)*[.!?。！？…]*")
QUESTION = re.compile(r"(?:[?？]|(?:です|ます|でしょう|ません)か[。]?|吗[。]?)[\s:：]*$")
NUMBER = re.compile(r"\bn[or]\. ?(?=\d)")  # 'No. 5' turns nothing down
OFFHAND = {
    "its": "it's", "thats": "that's", "doesnt": "doesn't", "dont": "don't", "didnt": "didn't", "isnt": "isn't",
    "wasnt": "wasn't", "wont": "won't", "youre": "you're", "youve": "you've", "im": "i'm", "theres": "there's",
    "u": "you", "ur": "your",
}
OFFHAND_WORD = re.compile(rf"\b(?:{'|'.join(OFFHAND)})\b")


@dataclass(frozen=True, slots=True)
class Tone:
    """`value` below 0 for a correction, above for praise, 0 for neither; `span` is what was matched."""

    value: float
    span: str = ""


NEUTRAL = Tone(0.0)


def tone(text: str, *, answers_a_question: bool = False) -> Tone:
    """How the message takes the reply. After a question of the assistant's, a plain 'no' is only the answer to it."""
    praised = NEUTRAL
    for sentence in sentences(text):
        if found := _correction(sentence, answers_a_question):
            return Tone(WRONG, found)
        if praised.value and (found := _turned(sentence)):
            return Tone(WRONG, found)
        praise = phrases().praise.match(sentence)
        if praise is None:
            if praised.value:
                break  # kind words, then the next task
            continue
        if found := _turned(sentence[praise.end() :], within=60):
            return Tone(WRONG, found)
        if not praised.value and not QUESTION.search(sentence):
            praised = Tone(CONTENT, praise.group(0))
    return praised


def tone_of_remark(text: str) -> Tone:
    """The same for words known to be about a reply: what may else describe the next task is a complaint here."""
    complaint = phrases().remark.search(QUOTED.sub(" ", text[:MAX_READ]).lower())
    return Tone(WRONG, complaint.group(0)) if complaint else tone(text)


def sentences(text: str) -> list[str]:
    """The first sentences of what the user says, in lower case, without quotations and fillers."""
    said = QUOTED.sub(" ", unicodedata.normalize("NFC", text[:MAX_READ])).replace("’", "'").lower()
    said = OFFHAND_WORD.sub(lambda match: OFFHAND[match.group(0)], NUMBER.sub("number ", said))
    found = (match.group(0)[:MAX_SENTENCE] for match in SENTENCE.finditer(said))
    stripped = (sentence[_start(sentence) :].strip() for sentence in found)
    return [sentence for sentence in stripped if sentence][:MAX_SENTENCES]


def _start(sentence: str) -> int:
    """Where the sentence begins in earnest."""
    position = 0
    for _ in range(3):
        match = phrases().filler.match(sentence, position)
        if match is None or match.end() == position:
            break
        position = match.end()
    return position


def _correction(sentence: str, answers_a_question: bool) -> str:
    """The words that say that the reply is wrong; empty where there are none."""
    if QUESTION.search(sentence) and not phrases().reproach.match(sentence):
        return ""
    found = phrases().wrong.match(sentence) or phrases().anywhere.search(sentence)
    if found is None and not answers_a_question:
        found = phrases().no.match(sentence)
    return found.group(0) if found else ""


def _turned(rest: str, within: int = 0) -> str:
    """What follows a 'but', where it is a complaint rather than the next request."""
    found = phrases().but.search(rest, 0, within) if within else phrases().but.match(rest)
    if found is None:
        return ""
    tail = rest[found.end() :].strip(" ,，、:-–")
    if not tail or QUESTION.search(tail) or phrases().asks.match(tail):
        return ""
    return rest[found.start() :].strip()
