"""JSON as people write it, read into values that know where they stand: comments, trailing commas, all of JSON5.

Written by hand since what there is does not fit: parsers of JSON5 in Python tell no positions, the one that keeps
comments shares its import name with a far more common package, and the one that edits needs Node.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from metaclaw.errors import ConnectError

TOKEN = re.compile(
    r"""(?P<blank> (?: [\s\ufeff]+ | //[^\r\n\u2028\u2029]* | /\*.*?\*/ )+ )
      | (?P<string> "(?:[^"\\\r\n]|\\.)*" | '(?:[^'\\\r\n]|\\.)*' )
      | (?P<mark> [][{}:,] )
      | (?P<word> [^\s"'\[\]{}:,/]+ )""",
    re.VERBOSE | re.DOTALL,
)
ESCAPE = re.compile(r"\\(\r\n|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|.)", re.DOTALL)
ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
CONTINUED = ("\n", "\r", "\r\n", "\u2028", "\u2029")  # a backslash before a line's end: the string goes on
WORDS = {"true": True, "false": False, "null": None}
NUMBER = re.compile(r"[+-]?(?:0[xX][0-9A-Fa-f]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|Infinity|NaN)")
NAME = re.compile(r"[^\W\d][\w$]*|\$[\w$]*")


@dataclass(frozen=True, slots=True)
class Member:
    """A key of an object with its value; it begins at `start` and ends with the value."""

    key: str
    start: int
    node: Node
    comma: int | None  # where the comma after it is


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands. `members` are those of an object, in order; None for anything else."""

    start: int
    end: int
    value: Any
    members: tuple[Member, ...] | None = None


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def parse(text: str) -> Node:
    """The outermost value. Raises `ConnectError` with the line at fault."""
    reader = _Reader(text)
    try:
        node = reader.value()
    except RecursionError as error:
        raise ConnectError("It is nested too deeply to be read as JSON.") from error
    if (token := reader.take()).kind != "end":
        raise reader.wrong(token)
    return node


def tokens(text: str) -> Iterator[Token]:
    """Everything but blanks and comments, then a token of the kind `end`."""
    at = 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ConnectError(f"It is not valid JSON: line {text.count(chr(10), 0, at) + 1}, '{text[at : at + 20]}'.")
        if match.lastgroup != "blank":
            yield Token(str(match.lastgroup), match.group(), at)
        at = match.end()
    yield Token("end", "", at)


@dataclass(slots=True)
class _Reader:
    text: str
    _tokens: Iterator[Token] = field(init=False)
    _ahead: Token = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = tokens(self.text)
        self._ahead = next(self._tokens)

    def take(self) -> Token:
        token = self._ahead
        self._ahead = next(self._tokens, token)
        return token

    def value(self) -> Node:
        token = self.take()
        if token.text == "{":
            return self._object(token)
        if token.text == "[":
            return self._array(token)
        if token.kind in ("string", "word"):
            return Node(token.start, token.end, self._scalar(token))
        raise self.wrong(token)

    def _object(self, opening: Token) -> Node:
        members: list[Member] = []
        while self._ahead.text != "}":
            name = self.take()
            key = self._key(name)
            if (colon := self.take()).text != ":":
                raise self.wrong(colon)
            node = self.value()
            members.append(Member(key, name.start, node, self._comma("}")))
        values = {member.key: member.node.value for member in members}
        return Node(opening.start, self.take().end, values, tuple(members))

    def _array(self, opening: Token) -> Node:
        values: list[Any] = []
        while self._ahead.text != "]":
            values.append(self.value().value)
            self._comma("]")
        return Node(opening.start, self.take().end, values)

    def _comma(self, closing: str) -> int | None:
        """Where the comma is that was here; None before the closing bracket, which alone may do without one."""
        if self._ahead.text == ",":
            return self.take().start
        if self._ahead.text != closing:
            raise self.wrong(self._ahead)
        return None

    def _key(self, token: Token) -> str:
        if token.kind == "string":
            return _unquoted(token.text)
        if token.kind == "word" and NAME.fullmatch(token.text):
            return token.text
        raise self.wrong(token)

    def _scalar(self, token: Token) -> Any:
        if token.kind == "string":
            return _unquoted(token.text)
        if token.text in WORDS:
            return WORDS[token.text]
        if NUMBER.fullmatch(token.text):
            return _number(token.text)
        raise self.wrong(token)

    def wrong(self, token: Token) -> ConnectError:
        line = self.text.count("\n", 0, token.start) + 1
        found = f"'{token.text[:20]}'" if token.text else "the end"
        return ConnectError(f"It is not valid JSON: line {line}, {found} was not expected.")


def _unquoted(literal: str) -> str:
    try:
        return str(json.loads(literal))  # the common case; it joins surrogate pairs, too
    except ValueError:
        return ESCAPE.sub(_escaped, literal[1:-1]).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escaped(match: re.Match[str]) -> str:
    body = match[1]
    if body in CONTINUED:
        return ""
    if len(body) > 1:
        return chr(int(body[1:], 16))
    return ESCAPED.get(body, body)


def _number(text: str) -> int | float:
    plain = text.lower()
    if "0x" in plain:
        return int(plain, 16)
    try:
        return int(plain)
    except ValueError:
        return float(plain)
