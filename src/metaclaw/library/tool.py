"""A code skill as a tool that a model can call: its name, what it takes, and the program to run. Nothing is executed.

In: a `Skill` of kind `code`, whose one file `scripts/*.py` defines one public function with types and a docstring, all
read from its syntax tree. Out: a `Tool`, and for a call's JSON the arguments to run it with. Running it is left to the
sandbox.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.library.signature import Schema, of_type, problem_with, read_value
from metaclaw.types import Skill, SkillKind

SCRIPT = re.compile(r"scripts/[A-Za-z0-9_]+\.py")
CASES = "scripts/cases.json"  # what a code skill must return for what: see docs/code-skills.md
MAX_DESCRIPTION = 1_024  # OpenAI's limit for a function's description
GRANTABLE: frozenset[str] = frozenset()  # the sandbox gives nothing to anybody, so nothing can be asked for


@dataclass(frozen=True, slots=True)
class Tool:
    """What a model is told of a code skill, and what the sandbox needs to run it.

    `name` suits OpenAI and Anthropic. `parameters` and `returns` are JSON Schemas, the first of an object. A call runs
    the function `entry` of the program `source`, with the arguments by keyword.
    """

    name: str
    description: str
    parameters: Schema
    returns: Schema
    entry: str
    source: str
    capabilities: tuple[str, ...] = ()


def tool_of(skill: Skill) -> Tool:
    """The tool that a code skill is. `SkillError`, with what to mend, where it cannot be one."""
    if skill.kind is not SkillKind.CODE:
        raise SkillError(f"Skill '{skill.name}' is an instruction, not code: it has nothing to call.")
    source = script_of(skill)
    try:
        module = _parsed(source)
        function = _entry(module)
        parameters = _parameters(function)
        returns = _of_annotation(function.returns, "what it returns")
        description = _description(skill, function)
        capabilities = _capabilities(module)
    except RecursionError as error:
        raise SkillError(f"Skill '{skill.name}': its script is nested too deeply. Write it flat.") from error
    except SkillError as error:
        raise SkillError(f"Skill '{skill.name}': {error}") from error
    return Tool(
        skill.name.replace("-", "_"), description, parameters, returns, function.name, source, capabilities
    )


def script_of(skill: Skill) -> str:
    """The text of its one script."""
    scripts = [text for path, text in skill.files if SCRIPT.fullmatch(path)]
    if len(scripts) != 1:
        raise SkillError(
            f"Skill '{skill.name}' has {len(scripts)} scripts. A code skill has exactly one, scripts/NAME.py."
        )
    return scripts[0]


def arguments_of(tool: Tool, given: str | Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call, from its JSON text or as read from it: checked, and brought to the declared types.

    `"7"` passes for an integer, `7` for a string, `2.0` for an integer. SkillError, in words for the model that called,
    with everything that is wrong with them. What has a default may be missing, and is then not in the result.
    """
    values = _as_object(tool, given)
    properties: Mapping[str, Schema] = tool.parameters["properties"]
    wrong = [f"there is no argument '{name}'" for name in values if name not in properties]
    wrong += [f"'{name}' is missing" for name in tool.parameters["required"] if name not in values]
    read: dict[str, Any] = {}
    for name, schema in properties.items():
        if name in values:
            try:
                read[name] = read_value(values[name], schema)
            except ValueError as error:
                wrong.append(f"'{name}' {error}")
    if wrong:
        raise SkillError(f"{tool.name} was not called: {'; '.join(wrong)}. It takes {usage(tool)}.")
    return read


def usage(tool: Tool) -> str:
    """What a call takes, in one line: `day (integer), zone (string, may be left out)`."""
    required = tool.parameters["required"]
    told = [
        f"{name} ({_type_name(schema)}{'' if name in required else ', may be left out'})"
        for name, schema in tool.parameters["properties"].items()
    ]
    return ", ".join(told) or "no arguments"


def as_text(value: Any) -> str:
    """What a call returned, as a model reads it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_object(tool: Tool, given: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else {}
        except (ValueError, RecursionError) as error:
            raise SkillError(
                f"{tool.name} was not called: its arguments are not valid JSON ({error}). It takes {usage(tool)}."
            ) from error
    if not isinstance(given, Mapping):
        raise SkillError(f"{tool.name} was not called: its arguments must be a JSON object. It takes {usage(tool)}.")
    return given


def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "\d" in a plain string is not for our log
        try:
            return ast.parse(source, "skill.py")
        except SyntaxError as error:
            line = f"line {error.lineno}: " if error.lineno else ""
            raise SkillError(f"its script is not valid Python: {line}{error.msg}") from error
        except (ValueError, MemoryError) as error:  # a null byte; an expression without end
            raise SkillError(f"its script cannot be read as Python: {error}") from error


def _entry(module: ast.Module) -> ast.FunctionDef:
    """The one public function."""
    public = [
        node for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    if len(public) != 1:
        names = ", ".join(node.name for node in public) or "none"
        raise SkillError(
            f"its script has {len(public)} public functions ({names}). Keep one; begin the names of others with '_'."
        )
    entry = public[0]
    if isinstance(entry, ast.AsyncFunctionDef):
        raise SkillError(f"{entry.name} is async. Write it with a plain def.")
    if entry.decorator_list:
        raise SkillError(f"{entry.name} has a decorator. Write it without: its signature must be what is called.")
    return entry


def _parameters(function: ast.FunctionDef) -> Schema:
    """The JSON Schema of its arguments."""
    given = function.args
    for star, argument in (("*", given.vararg), ("**", given.kwarg)):
        if argument:
            raise SkillError(f"{function.name} takes {star}{argument.arg}. Name every argument, with its type.")
    if given.posonlyargs:
        raise SkillError(f"{function.name} has positional-only arguments. Calls name them: leave the '/' out.")
    bare: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults))
    properties: dict[str, Schema] = {}
    required = []
    for argument, default in zip(
        [*given.args, *given.kwonlyargs], [*bare, *given.defaults, *given.kw_defaults], strict=True
    ):
        schema = dict(_of_annotation(argument.annotation, f"argument '{argument.arg}'"))
        if told := _told_of(argument.arg, function):
            schema["description"] = told
        if default is None:
            required.append(argument.arg)
        else:
            schema["default"] = _default(argument.arg, default, schema)
        properties[argument.arg] = schema
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _of_annotation(annotation: ast.expr | None, what: str) -> Schema:
    if annotation is None:
        raise SkillError(f"{what} has no type. Write one, such as `: str`, or `-> int` for what is returned.")
    try:
        return of_type(annotation)
    except ValueError as error:
        raise SkillError(f"{what}: {error}") from error


def _default(name: str, node: ast.expr, schema: Schema) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError) as error:
        told = f"the default of '{name}' is computed. Write a plain value, or None and compute inside."
        raise SkillError(told) from error
    if wrong := problem_with(value, schema):
        raise SkillError(f"the default of '{name}' {wrong}. Change it, or the type: `T | None` allows None.")
    return value


def _told_of(name: str, function: ast.FunctionDef) -> str:
    """What the docstring says of an argument, on a line `name: ...` or `name (type): ...`."""
    found = re.search(rf"^\s*{re.escape(name)}\s*(?:\([^)\n]*\))?\s*:\s*(\S.*)$", _docstring(function), re.MULTILINE)
    return found.group(1).strip()[:200] if found else ""


def _description(skill: Skill, function: ast.FunctionDef) -> str:
    """What the function does, and when to call it."""
    told = _docstring(function)
    if not told:
        raise SkillError(f"{function.name} has no docstring. Say in one what it takes and what it returns.")
    return f"{told[: MAX_DESCRIPTION // 2].strip()}\n\n{skill.description.strip()}"[:MAX_DESCRIPTION].strip()


def _docstring(function: ast.FunctionDef) -> str:
    return (ast.get_docstring(function) or "").strip()


def _capabilities(module: ast.Module) -> tuple[str, ...]:
    """What the script asks for in `CAPABILITIES = [...]`; nothing where it does not say."""
    asked: list[str] = []
    for node in module.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == "CAPABILITIES" for target in targets):
            try:
                names = ast.literal_eval(node.value)
            except (ValueError, TypeError, MemoryError) as error:
                raise SkillError("CAPABILITIES is computed. Write `CAPABILITIES = []`, or leave it out.") from error
            asked += map(str, names if isinstance(names, list | tuple | set) else [names])
    if refused := [name for name in asked if name not in GRANTABLE]:
        raise SkillError(
            f"it asks for {', '.join(refused)}. No capability can be granted: a code skill computes from its arguments"
            " alone. Leave CAPABILITIES out."
        )
    return tuple(asked)


def _type_name(schema: Schema) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type_name(one) for one in schema["anyOf"])
    return str(schema["type"])
