"""What makes a text read otherwise for a model than for a person: hidden letters, look-alikes, encodings. Pure.

In: a text. Out: `marks`, what is disguised in it and how; and `views`, the text as whoever wrote it may mean it, which
the screen reads beside the text itself.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable
from itertools import islice
from urllib.parse import unquote

MOST_ENCODED = 20  # passages that are decoded, so that a long text costs no more
LOOK_ALIKES = str.maketrans(
    "аеорсхуіїјѕһԁԛԝӏкмтнвАВЕКМНОРСТХІЈЅαβεικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧɑɡıⅼ",
    "aeopcxyiijshdqwlkmthbABEKMHOPCTXIJSabeiknoptuxABEZHIKMNOPTYXagil",
)
LEET = str.maketrans("013457@$", "oieastas")
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]"
)
# Joiners have work to do in some scripts and between emoji; beside Latin letters they hide something.
JOINER_IN_LATIN = re.compile("[A-Za-z][\u200c\u200d]+[A-Za-z]")
MANY_SELECTORS = re.compile("[\ufe00-\ufe0f]{2,}")
WORD = re.compile(r"[^\W\d_]{2,}")
SPACED_OUT = re.compile(r"(?<!\w)(?:\w[ .\-_*·|]){4,}\w(?!\w)")
BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,}={0,2}(?![A-Za-z0-9+/=_-])")
HEX = re.compile(r"(?<![0-9A-Fa-f])(?:(?:\\x|0x|%)?[0-9A-Fa-f]{2}[ ,:]?){16,}(?![0-9A-Fa-f])")
ESCAPES = re.compile(r"(?:\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}){4,}")
PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2}[\w.-]{0,3}){6,}")
ENTITIES = re.compile(r"(?:&#x?[0-9A-Fa-f]{2,6};){3,}")
COMMENT = re.compile(r"<!--|^\[(?://|comment|_|\^?\d+)\]:\s*(?:#|<>)", re.MULTILINE | re.IGNORECASE)
MARKUP = re.compile(
    r"<(?:script|iframe|object|embed|img|svg|link|meta|style|form|input|base)\b|\b(?:display:\s*none|visibility:\s*hidden"
    r"|font-size:\s*0|opacity:\s*0|color:\s*(?:white|#fff(?:fff)?)\b)|\bon(?:load|error|click|mouseover)\s*=",
    re.IGNORECASE,
)
REMOTE_IMAGE = re.compile(r"!\[[^\]\n]*\]\(\s*<?(?:https?:)?//|!\[[^\]\n]*\]\[", re.IGNORECASE)
ACTIVE_LINK = re.compile(r"(?:\]\(|\]:)\s*<?(?:javascript|data|vbscript|file):", re.IGNORECASE)
LINK = re.compile(r"\[([^\]\n]{1,200})\]\(\s*<?((?:https?:)?//[^)\s>]+)([^)\n]*)\)")
HOST = re.compile(r"(?:https?:)?//(?:[^/@\s]*@)?([^/:?#\s]+)|\b((?:[\w-]+\.)+[a-z]{2,})\b", re.IGNORECASE)


def marks(text: str) -> list[str]:
    """How the text hides something; empty where it does not."""
    found = []
    if INVISIBLE.search(text) or JOINER_IN_LATIN.search(text) or MANY_SELECTORS.search(text):
        found.append("holds characters that cannot be seen")
    if any(map(_mixed, WORD.findall(text))):
        found.append("holds letters of one script that pass for another's")
    if COMMENT.search(text) or MARKUP.search(text):
        found.append("holds markup that a reader would not see")
    if REMOTE_IMAGE.search(text) or ACTIVE_LINK.search(text) or any(map(_misleading, LINK.finditer(text))):
        found.append("holds a link or an image that does something else than it shows")
    if any(_decoded(text)):
        found.append("holds an encoded passage")
    return found


def views(text: str) -> list[str]:
    """The text in plain letters, with what is encoded in it, and as it reads without its tricks."""
    shown = INVISIBLE.sub("", text).replace("\u200c", "").replace("\u200d", "")
    folded = unicodedata.normalize("NFKC", html.unescape(shown))
    tagged = "".join(chr(ord(c) - 0xE0000) for c in text if 0xE0020 <= ord(c) <= 0xE007E)
    parts = [folded, *_decoded(text), tagged]
    plain = " ".join(" ".join(parts).split()).lower()
    joined = SPACED_OUT.sub(lambda match: re.sub(r"[ .\-_*·|]", "", match.group(0)), plain)
    unaccented = "".join(c for c in unicodedata.normalize("NFD", joined) if not unicodedata.combining(c))
    mapped = joined.translate(LOOK_ALIKES)
    found = [joined, mapped, mapped.translate(LEET), unaccented, re.sub(r"(?<=\w)[*_~`]+(?=\w)|[*_~`]+", "", joined)]
    if "rot13" in plain or "rot-13" in plain:
        found.append(codecs.decode(plain, "rot13"))
    return list(dict.fromkeys(found))


def _mixed(word: str) -> bool:
    """Whether Latin letters stand in one word with Cyrillic or Greek ones."""
    scripts = {_script(character) for character in word}
    return ("LATIN" in scripts and bool(scripts & {"CYRILLIC", "GREEK", "FULLWIDTH", "MATHEMATICAL"})) or (bool(
        scripts & {"FULLWIDTH", "MATHEMATICAL"}
    ) and "LATIN" not in scripts)


def _script(character: str) -> str:
    return "LATIN" if character.isascii() else unicodedata.name(character, "").partition(" ")[0]


def _misleading(link: re.Match[str]) -> bool:
    """Whether the text of a link names another host than the link, or the link carries a title or a filled-in value."""
    shown, target = HOST.search(link.group(1)), HOST.search(link.group(2))
    named = (shown.group(1) or shown.group(2) or "").lower() if shown else ""
    host = (target.group(1) or target.group(2) or "").lower() if target else ""
    elsewhere = bool(named) and named.removeprefix("www.") != host.removeprefix("www.")
    return elsewhere or bool(re.search(r"[{<]\w+[}>]|=\s*\[|\$\{?\w+", link.group(2) + link.group(3)))


def _decoded(text: str) -> list[str]:
    """What encoded passages say, where that is text."""
    ways: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
        (BASE64, _from_base64), (HEX, _from_hex), (ESCAPES, _from_escapes), (PERCENT, unquote),
        (ENTITIES, html.unescape),
    )
    found = [read(match.group(0)) for way, read in ways for match in islice(way.finditer(text), MOST_ENCODED)]
    return [passage for passage in found if passage.strip()]


def _from_base64(passage: str) -> str:
    standard = passage.rstrip("=").replace("-", "+").replace("_", "/")
    whole = standard[: len(standard) - (len(standard) % 4 == 1)]
    try:
        return _readable(base64.b64decode(whole + "=" * (-len(whole) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _from_hex(passage: str) -> str:
    digits = re.sub(r"\\x|0x|%|[ ,:]", "", passage)
    return _readable(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _from_escapes(passage: str) -> str:
    return passage.encode("ascii").decode("unicode_escape", "ignore")


def _readable(raw: bytes) -> str:
    """As text, where it is one: mostly letters and blanks. A digest or a path that looks like base64 is none."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    telling = sum(character.isalpha() or character in " ,.:/\n" for character in text)
    return text if len(text) >= 8 and telling >= 0.85 * len(text) and text.isprintable() else ""
