"""Interpret the few shapes of `python -c` that the public checks hold, on a workspace in memory; never run them.

Only expressions over JSON, file names and regular expressions are known; anything else is an `UnreadableError`. What
would be an uncaught exception in Python ends with exit code 1, as there.
"""

from __future__ import annotations

import ast
import fnmatch
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import regex

from metaclaw.bench.workdays.documents import Files
from metaclaw.errors import MetaClawError

MATCH_SECONDS = 1.0
MOST_STEPS = 200_000
MODULES = ("glob", "json", "re", "sys", "os")
COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not, ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset({"startswith", "endswith", "strip", "split", "splitlines", "lower", "upper", "replace"}),
    dict: frozenset({"get", "keys", "values", "items"}),
}
BUILTINS: Mapping[str, Callable[..., Any]] = {
    "len": len, "str": str, "int": int, "sorted": sorted, "next": next, "any": any, "all": all, "list": list,
    "set": set, "isinstance": isinstance, "min": min, "max": max, "sum": sum, "bool": bool, "enumerate": enumerate,
}  # fmt: skip
TYPES: Mapping[str, type] = {"dict": dict, "list": list, "str": str, "int": int, "float": float, "bool": bool}


class UnreadableError(MetaClawError):
    """A program of another shape than those that are known here."""


class Exit(Exception):  # noqa: N818 - it is how a program ends
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Outcome:
    code: int
    printed: str


@dataclass(slots=True)
class _Opened:
    text: str


def read(source: str) -> ast.Module:
    """The program, parsed. UnreadableError where it is no Python, or holds what is not known here."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UnreadableError(f"not Python: {error}") from error
    for node in ast.walk(tree):
        if not isinstance(node, KNOWN):
            raise UnreadableError(f"a {type(node).__name__} is not known here")
        if isinstance(node, ast.Import) and not {alias.name for alias in node.names} <= set(MODULES):
            raise UnreadableError(f"imports {', '.join(alias.name for alias in node.names)}")
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            raise UnreadableError(f"reaches for {node.attr}")
    return tree


def run(tree: ast.Module, files: Files) -> Outcome:
    """What the program would exit with and print, in a workspace of these files."""
    program = _Program(files)
    try:
        for statement in tree.body:
            program.execute(statement)
    except Exit as end:
        return Outcome(end.code, program.printed())
    except UnreadableError:
        raise
    except (ArithmeticError, AttributeError, LookupError, OSError, StopIteration, TypeError, ValueError, TimeoutError):
        return Outcome(1, program.printed())
    return Outcome(0, program.printed())


@dataclass(slots=True)
class _Program:
    files: Files
    names: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    steps: int = 0

    def printed(self) -> str:
        return "\n".join(self.lines)

    def execute(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import):
            return
        if isinstance(node, ast.Assign):
            self._bind(node.targets[0], self.value(node.value))
        elif isinstance(node, ast.Expr):
            self.value(node.value)
        elif isinstance(node, ast.Assert):
            if not self.value(node.test):
                raise Exit(1)
        elif isinstance(node, ast.If):
            for inner in node.body if self.value(node.test) else node.orelse:
                self.execute(inner)
        else:
            raise UnreadableError(f"a {type(node).__name__} is not known here")

    def value(self, node: ast.expr) -> Any:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise TimeoutError("too many steps")
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._named(node.id)
            case ast.List() | ast.Tuple() | ast.Set():
                items = [self.value(item) for item in node.elts]
                made = {ast.Tuple: tuple, ast.Set: set}.get(type(node), list)
                return made(items)
            case ast.Subscript():
                return self.value(node.value)[self.value(node.slice)]
            case ast.IfExp():
                return self.value(node.body if self.value(node.test) else node.orelse)
            case ast.BoolOp():
                return self._logic(node)
            case ast.UnaryOp():
                inner = self.value(node.operand)
                return (not inner) if isinstance(node.op, ast.Not) else -inner
            case ast.BinOp():
                left, right = self.value(node.left), self.value(node.right)
                return left + right if isinstance(node.op, ast.Add) else left - right
            case ast.Compare():
                return self._compare(node)
            case ast.GeneratorExp():
                return iter(list(self._comprehend(node.generators, node.elt)))
            case ast.ListComp():
                return list(self._comprehend(node.generators, node.elt))
            case ast.SetComp():
                return set(self._comprehend(node.generators, node.elt))
            case ast.Call():
                return self._call(node)
        raise UnreadableError(f"a {type(node).__name__} is not known here")

    def _named(self, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        if name in TYPES:
            return TYPES[name]
        raise UnreadableError(f"the name {name} is not known here")

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Tuple):
            for inner, part in zip(target.elts, value, strict=True):
                self._bind(inner, part)
        else:
            raise UnreadableError(f"assigns to a {type(target).__name__}")

    def _logic(self, node: ast.BoolOp) -> Any:
        found = None
        for part in node.values:
            found = self.value(part)
            if bool(found) != isinstance(node.op, ast.And):
                return found
        return found

    def _compare(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for how, part in zip(node.ops, node.comparators, strict=True):
            right = self.value(part)
            if not COMPARISONS[type(how)](left, right):
                return False
            left = right
        return True

    def _comprehend(self, loops: list[ast.comprehension], element: ast.expr) -> Iterator[Any]:
        if not loops:
            yield self.value(element)
            return
        for item in self.value(loops[0].iter):
            self._bind(loops[0].target, item)
            if all(self.value(test) for test in loops[0].ifs):
                yield from self._comprehend(loops[1:], element)

    def _call(self, node: ast.Call) -> Any:
        given = [self.value(part) for part in node.args]
        if node.keywords:
            raise UnreadableError("a call with named arguments is not known here")
        if isinstance(node.func, ast.Name):
            return self._function(node.func.id, given)
        if not isinstance(node.func, ast.Attribute):
            raise UnreadableError("a call of a call is not known here")
        path = ast.unparse(node.func)
        if path.split(".")[0] in MODULES and path.split(".")[0] not in self.names:
            return self._of_module(path, given)
        return self._method(self.value(node.func.value), node.func.attr, given)

    def _function(self, name: str, given: list[Any]) -> Any:
        if name == "open":
            return _Opened(self._text(given[0]))
        if name == "print":
            self.lines.append(" ".join(map(str, given)))
            return None
        if name in BUILTINS and name not in self.names:
            return BUILTINS[name](*given)
        raise UnreadableError(f"the function {name} is not known here")

    def _of_module(self, path: str, given: list[Any]) -> Any:
        match path:
            case "sys.exit":
                raise Exit(given[0] if given and isinstance(given[0], int) else int(bool(given and given[0])))
            case "json.load":
                return json.loads(given[0].text)
            case "json.loads":
                return json.loads(given[0])
            case "glob.glob":
                return [name for name in self.files if _matches(name, given[0])]
            case "os.path.exists" | "os.path.isfile":
                return given[0] in self.files
            case "re.compile":
                return regex.compile(given[0])
            case "re.match" | "re.search" | "re.fullmatch" | "re.findall":
                return getattr(regex, path.removeprefix("re."))(given[0], given[1], timeout=MATCH_SECONDS)
        raise UnreadableError(f"{path} is not known here")

    def _method(self, value: Any, name: str, given: list[Any]) -> Any:
        if isinstance(value, _Opened) and name == "read":
            return value.text
        if isinstance(value, regex.Pattern) and name in ("match", "search", "fullmatch", "findall"):
            return getattr(value, name)(given[0], timeout=MATCH_SECONDS)
        if name in METHODS.get(type(value), ()):
            return getattr(value, name)(*given)
        plain = isinstance(value, (str, dict, list, int, float, bool, type(None)))
        if plain and not hasattr(value, name):  # as in Python: the document is of another shape than the check wants
            raise AttributeError(name)
        raise UnreadableError(f"the method {name} is not known here")

    def _text(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]


def _matches(path: str, pattern: str) -> bool:
    """As glob does: a star stays inside its folder."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(fnmatch.fnmatchcase(*pair) for pair in zip(parts, wanted, strict=True))


KNOWN = (
    ast.Module, ast.Import, ast.alias, ast.Assign, ast.Expr, ast.Assert, ast.If, ast.Constant, ast.Name, ast.Load,
    ast.Store, ast.List, ast.Tuple, ast.Set, ast.Subscript, ast.IfExp, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp,
    ast.Not, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Compare, *COMPARISONS, ast.GeneratorExp, ast.ListComp,
    ast.SetComp, ast.comprehension, ast.Call, ast.Attribute,
)  # fmt: skip
