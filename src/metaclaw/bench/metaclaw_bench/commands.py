"""The shell lines of the public checks, read without a shell: parts joined by `&&`, of two kinds.

`python scripts/NAME.py ARGUMENTS...` is one of our checkers, `python -c "..."` an inline program. An argument may be
the output of an inline program, `$(python -c "...")`. Anything else is `UnreadableError`, and says what it is.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from metaclaw.bench.metaclaw_bench import inline
from metaclaw.bench.metaclaw_bench.checkers import OPTIONS, Call, Variant, passes
from metaclaw.bench.metaclaw_bench.inline import UnreadableError
from metaclaw.bench.workdays.documents import Files

QUOTED = r'"(?:[^"\\]|\\.)*"'
WORD = re.compile(rf"""\s*(?:(?P<quoted>{QUOTED})|(?P<insert>\$\((?:[^()"]|{QUOTED})*\))|(?P<plain>[^\s"]+))""")
SCRIPT = re.compile(r"scripts/(\w+)\.py")


@dataclass(frozen=True, slots=True)
class Inserted:
    """An argument that an inline program prints."""

    program: ast.Module


@dataclass(frozen=True, slots=True)
class Part:
    """One command of the line: a checker with its words, or an inline program. `shipped` goes into its `Call`."""

    name: str
    words: tuple[str | Inserted, ...] = ()
    program: ast.Module | None = None
    shipped: Files = field(default_factory=dict)

    def passes(self, files: Files, variant: Variant) -> bool:
        if self.program is not None:
            return inline.run(self.program, files).code == 0
        words = [word for part in self.words for word in _filled(part, files)]
        return passes(call_of(self.name, words, self.shipped), files, variant)


def read(command: str) -> list[Part]:
    """The parts of a line. UnreadableError where it holds anything else than what is known here."""
    parts: list[Part] = []
    current: list[str | Inserted] = []
    for word in [*_words(command), "&&"]:
        if word == "&&":
            parts.append(_part(current))
            current = []
        else:
            current.append(word)
    return parts


def evaluate(parts: Sequence[Part], files: Files, variant: Variant) -> list[tuple[str, bool]]:
    """Each part's name and whether it passes; all are looked at, also behind one that fails."""
    return [(part.name, part.passes(files, variant)) for part in parts]


def repaired(parts: Sequence[Part], shipped: Files) -> list[Part]:
    """The line without its faults: a list that an inline program takes for an empty one where it is missing must be
    there; what a list holds as the data ships it is not judged; `--min-count` goes where it is taken.
    """
    required = _RequiredLists()
    return [
        replace(part, program=part.program and required.visit(copy.deepcopy(part.program)), shipped=shipped)
        for part in _counted(parts)
    ]


class _RequiredLists(ast.NodeTransformer):
    """`x.get(key, [])` becomes `x[key]`."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Attribute(value=holder, attr="get"), args=[key, ast.List(elts=[])]):
                return ast.Subscript(holder, key, ast.Load())
        return node


def _counted(parts: Sequence[Part]) -> list[Part]:
    """`--min-count`, handed to a checker that does not take it, goes to the one of the same line that does."""
    strays = [part for part in parts if "--min-count" in part.words and "min-count" not in OPTIONS.get(part.name, ())]
    if not strays:
        return list(parts)
    place = strays[0].words.index("--min-count")
    moved = strays[0].words[place : place + 2]
    fixed = [replace(p, words=(*p.words[:place], *p.words[place + 2 :])) if p is strays[0] else p for p in parts]
    return [replace(p, words=(*p.words, *moved)) if p.name == "check_filename" else p for p in fixed]


def call_of(name: str, words: Sequence[str], shipped: Files) -> Call:
    """Words as a command line reads them: `--option value` pairs, and the rest in order."""
    arguments: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if word.startswith("--"):
            options[word[2:]] = next(left, "")
        else:
            arguments.append(word)
    return Call(name, tuple(arguments), options, shipped)


def _part(words: Sequence[str | Inserted]) -> Part:
    match words:
        case ["python" | "python3", "-c", str(source)]:
            return Part("inline", program=inline.read(source))
        case ["python" | "python3", str(script), *rest]:
            found = SCRIPT.fullmatch(script)
            if found and found.group(1) in OPTIONS:
                return Part(found.group(1), tuple(rest))
            raise UnreadableError(f"{script} is no checker that is known here")
    raise UnreadableError(f"{' '.join(map(str, words))!r} is no command that is known here")


def _words(command: str) -> Iterator[str | Inserted]:
    position = 0
    command = command.rstrip()
    while position < len(command):
        found = WORD.match(command, position)
        if found is None:
            raise UnreadableError(f"cannot read {command[position : position + 40]!r}")
        position = found.end()
        named: Mapping[str, str | None] = found.groupdict()
        if (quoted := named["quoted"]) is not None:
            yield re.sub(r'\\(["\\$`])', r"\1", quoted[1:-1])  # what a shell takes a backslash off, in double quotes
        elif (insert := named["insert"]) is not None:
            inner = _part(list(_words(insert[2:-1])))
            if inner.program is None:
                raise UnreadableError("only an inline program may stand in for an argument")
            yield Inserted(inner.program)
        else:
            plain = named["plain"] or ""
            if plain != "&&" and re.search(r"[$`|;<>&*()'\\]", plain):
                raise UnreadableError(f"{plain!r} is more of a shell than is known here")
            yield plain


def _filled(word: str | Inserted, files: Files) -> list[str]:
    return [word] if isinstance(word, str) else inline.run(word.program, files).printed.split()
