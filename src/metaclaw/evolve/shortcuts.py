"""Ways to a right answer that compute nothing: is it in the script, in the arguments, or in the clock? Pure.

In: a script as a tool, the cases from the failure, and the failed request. Out: objections in words for whoever wrote
the script (`leaks`, `unsteady`), and doubts (`particular`, `ungrounded`). They go by the words, and do not see
everything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any

from metaclaw.evolve.cases import Case, same
from metaclaw.library.tool import Tool, as_text

UNSTEADY_MODULES = frozenset({"random", "secrets", "uuid", "time"})
UNSTEADY_CALLS = frozenset({"now", "today", "utcnow", "urandom"})
MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
TABLE = 3  # values that stand together in a script, such as the names of months
SAYS_YES_OR_NO = frozenset({"true", "false", "yes", "no", "valid", "invalid"})
SHORT = 4  # what has fewer characters may well stand in a script by chance


def leaks(tool: Tool, of_user: Sequence[Case], request: str) -> Iterator[str]:
    """Ways to the right answer that compute nothing: it stands in the script, or is passed to it."""
    constants = list(_constants(tool.source))
    for case in of_user:
        answer = _plain(case.expected)
        if case.expected is None or answer in SAYS_YES_OR_NO:
            continue
        written = [text for text, in_table in constants if not (in_table and answer.isalpha())]
        if len(answer) >= SHORT and any(answer in text for text in written):
            yield f"the script holds the right answer of this one request ({answer}). Compute it from the arguments"
        passed = [same(case.expected, value) for value in case.arguments.values()]
        passed += [len(answer) >= SHORT and answer in _plain(value) for value in case.arguments.values()]
        if any(passed) and not _tokens(answer) <= _known(request):
            yield f"the call passes the right answer itself ({answer}). Pass what the request says"


def unsteady(tool: Tool) -> Iterator[str]:
    """What in the script makes its value depend on more than its arguments."""
    for node in ast.walk(ast.parse(tool.source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in modules:
            if name.partition(".")[0] in UNSTEADY_MODULES:
                yield f"the script uses {name}: its value must depend on its arguments alone"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in UNSTEADY_CALLS:
            yield f"the script calls {node.func.attr}(): take the date or time as an argument"


def particular(tool: Tool, request: str) -> Iterator[str]:
    """Words and long numbers of the request in the script: what should be an argument may have become a part of it."""
    held = {token for text, in_table in _constants(tool.source) if not in_table for token in _tokens(text)}
    telling = {token for token in held & _tokens(request) if len(token) >= SHORT}
    if telling:
        yield f"the script holds words of this one request: {', '.join(sorted(telling))[:200]}"


def ungrounded(of_user: Sequence[Case], request: str) -> Iterator[str]:
    """Arguments that the request does not say: the model may have done the work itself."""
    known = _known(request)
    for case in of_user:
        for name, value in case.arguments.items():
            if not all(_tokens(leaf) <= known for leaf in _leaves(value)):
                yield f"argument {name} of the failed request is not in its words: {as_text(value)[:80]}"


def _constants(source: str) -> Iterator[tuple[str, bool]]:
    """Every plain value in the script but docstrings, as text, and whether it is one of several in a table."""
    module = ast.parse(source)
    docstrings = {
        id(node.body[0].value) for node in ast.walk(module)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    tables = [node for node in ast.walk(module) if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict)]
    in_tables = {
        id(item) for table in tables for items in [table.values if isinstance(table, ast.Dict) else table.elts]
        if len(items) >= TABLE for item in items
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and id(node) not in docstrings and isinstance(node.value, str | int | float):
            yield _plain(node.value), id(node) in in_tables


def _leaves(value: Any) -> Iterator[str]:
    """The texts and numbers in a value, as a request may say them."""
    if isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    elif isinstance(value, float) and value.is_integer():
        yield str(int(value))
    elif value is not None and not isinstance(value, bool):
        yield as_text(value)


def _known(request: str) -> set[str]:
    """What the request says: its words and numbers, and the numbers of months that it names."""
    known = _tokens(request) | _tokens(re.sub(r"(?<=\d)[,.' ](?=\d{3}\b)", "", request))
    return known | {str(at) for at, month in enumerate(MONTHS, 1) if any(word.startswith(month) for word in known)}


def _tokens(text: str) -> set[str]:
    """Words and numbers, these without leading zeros."""
    return {token.lstrip("0") or "0" for token in re.findall(r"\d+|[^\W\d_]+", text.casefold())}


def _plain(text: Any) -> str:
    return re.sub(r"\s+", " ", as_text(text)).strip().casefold()
