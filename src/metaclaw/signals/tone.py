"""Does a user's message correct the last reply, praise it, or neither? In twelve languages, a file in `phrases/` each.

In: the user's own words, boilerplate removed. Out: a `Tone` with the words that decided. Only the beginning counts, and
only what the user says, not what is quoted: a message that goes on to the next task may hold any word.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

MAX_READ = 1_500  # characters; who corrects a reply says so at the beginning
MAX_SENTENCES = 4
MAX_SENTENCE = 400
WRONG, CONTENT = -0.8, 0.5

# What a reply is made of: 'the total is off' speaks of the reply, 'the printer is off' does not.
PART = (
    r"(?:answer|total|sum|result|code|title|date|format|table|column|row|link|name|order|tone|text|translation|number"
    r"|list|spelling|output|function|formula|chart|heading|header|subject|year|price|address|value|count|calculation"
    r"|regex|query|command|example|quote|import|indentation|paragraph|sentence|line|version|unit|summary|reply|one)s?"
)
QUOTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]{0,400}\"|“[^”\n]{0,400}”|„[^”“\n]{0,400}[”“]|«[^»\n]{0,400}»|「[^」\n]{0,400}」"
    r"|『[^』\n]{0,400}』|(?<!\w)['‘][^'’\n]{1,400}['’](?!\w)|^>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)
SENTENCE = re.compile(r"[^.!?。！？…\n]+(?:[.!?…](?=\S)[^.!?。！？…\n]+)*[.!?。！？…]*")
QUESTION = re.compile(r"(?:[?？]|(?:です|ます|でしょう|ません)か[。]?|吗[。]?)[\s:：]*$")
# Questions that are reproaches all the same: 'Why did you change the tests?'
REPROACH = re.compile(
    r"why|warum|pourquoi|por ?qu[eé]|perché|waarom|dlaczego|почему|зачем|为什么|干嘛|怎么|なぜ|なんで|どうして|왜|(?:can|could|will)"
    r" you\b|how often|how many times|wie oft|combien de fois|cuántas veces|quantas vezes|quante volte|hoe vaak|ile razy"
)
LEADING = r"[\s,.!:;…~*_#>¡¿()–—-]*"
FILLER = re.compile(
    LEADING + r"(?:(?:h+m+|uh+|um+|ugh|oh|ah|argh|sorry|wait|hey|please|pls|well|ok|okay|and|yeah|nvm|never ?mind|lol|apparently"
    r"|i think|i believe|(?:it )?seems(?: like)?|(?:it )?looks like|äh|ach|also|bitte|doch|moment|und|leider|entschuldigung|euh|bon"
    r"|pardon|désolée?|attends|et|eh|ay|oye|perdón|por favor|y|bueno|espera|opa|desculpe|bom|scusa|per favore|beh|aspetta"
    r"|wacht|nou|en|hm|oj|proszę|przepraszam|хм|ой|ах|и|ну|пожалуйста|извини|подожди)(?=[\s,.!:;…-])"
    r"|(?:呃|嗯|啊|哦|不好意思|抱歉|えっと|あの|うーん|すみません|ごめん|음|저기|죄송한데)(?=[\s，、,.!…]))?[，、]?" + LEADING
)
OFFHAND = {
    "its": "it's", "thats": "that's", "doesnt": "doesn't", "dont": "don't", "didnt": "didn't", "isnt": "isn't", "wasnt":
    "wasn't", "wont": "won't", "youre": "you're", "youve": "you've", "ive": "i've", "im": "i'm", "theres": "there's",
    "u": "you", "ur": "your",
}
NUMBER = re.compile(r"\bn[or]\. ?(?=\d)")  # 'No. 5' turns nothing down
OFFHAND_WORD = re.compile(rf"\b(?:{'|'.join(OFFHAND)})\b")


@dataclass(frozen=True, slots=True)
class Tone:
    """`value` below 0 for a correction, above for praise, 0 for neither; `span` is what was matched."""

    value: float
    span: str = ""


@dataclass(frozen=True, slots=True)
class Phrases:
    """All languages together, as patterns that are tried at the start of a sentence, in lower case.

    `no` turns a reply down, unless a language's `declines` follows it: 'No, thanks'. `wrong` says that a reply is wrong;
    `anywhere` does so in the middle of a sentence too. `praise` says that it is right, unless it goes on as `not_praise`.
    `but` turns praise round, unless what follows is a request of its own (`asks`).
    """

    no: re.Pattern[str]
    wrong: re.Pattern[str]
    anywhere: re.Pattern[str]
    praise: re.Pattern[str]
    but: re.Pattern[str]
    asks: re.Pattern[str]


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


def sentences(text: str) -> list[str]:
    """The first sentences of what the user says, in lower case, without quotations and fillers."""
    said = QUOTED.sub(" ", unicodedata.normalize("NFC", text[:MAX_READ])).replace("’", "'").lower()
    said = OFFHAND_WORD.sub(lambda match: OFFHAND[match.group(0)], NUMBER.sub("number ", said))
    found = (match.group(0)[:MAX_SENTENCE] for match in SENTENCE.finditer(said))
    stripped = (sentence[_start(sentence) :].strip() for sentence in found)
    return [sentence for sentence in stripped if sentence][:MAX_SENTENCES]


@cache
def phrases() -> Phrases:
    """Read once, at first use."""
    files = sorted(
        (file for file in resources.files("metaclaw.signals").joinpath("phrases").iterdir() if file.name.endswith(".toml")),
        key=lambda file: file.name,
    )
    languages = [tomllib.loads(file.read_text(encoding="utf-8")) for file in files]

    def together(key: str) -> str:
        return _either("|".join(language[key]).replace("{part}", PART) for language in languages)

    praise = _either(
        rf"(?:{'|'.join(language['praise'])})(?![^.!。]{{0,12}}(?:{'|'.join(language['not_praise'])}))"
        for language in languages
    )
    return Phrases(
        no=re.compile(rf"{together('no')}(?!{LEADING}[，、]?\s*{together('declines')})"),
        wrong=re.compile(together("wrong")),
        anywhere=re.compile(together("anywhere")),
        praise=re.compile(praise),
        but=re.compile(_either(_words(language["but"]) for language in languages)),
        asks=re.compile(_either(_words(language["asks"]) for language in languages)),
    )


def _either(fragments: Iterable[str]) -> str:
    return f"(?:{'|'.join(fragments)})"


def _words(fragments: list[str]) -> str:
    """As whole words, where the script has blanks between them."""
    either = _either(fragments)
    return rf"\b{either}(?!\w)" if re.match(r"[a-zà-ÿа-яё(?:']", fragments[0]) else either


def _start(sentence: str) -> int:
    """Where the sentence begins in earnest."""
    position = 0
    for _ in range(3):
        match = FILLER.match(sentence, position)
        if match is None or match.end() == position:
            break
        position = match.end()
    return position


def _correction(sentence: str, answers_a_question: bool) -> str:
    """The words that say that the reply is wrong; empty where there are none."""
    if QUESTION.search(sentence) and not REPROACH.match(sentence):
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
