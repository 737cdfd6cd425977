"""The five checkers that the public data names, written anew from what its README says that they test.

They see the workspace as texts in memory, from outside of it. A checker called with what it does not take fails, as a
command does that ends with a usage message.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import yaml

from metaclaw.bench.workdays.documents import Files, parsed

Variant = Literal["as-shipped", "repaired"]
ISO = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?\+08:00"
NAME = re.compile(r"\d{8}_[a-z0-9]+(?:_[a-z0-9]+)*\.[a-z0-9]+")
LOG_LINE = re.compile(rf"\[DONE\] {ISO} \| (?P<task>[^|]+?) \| (?P<summary>.{{1,80}})")
STATES = ("pending", "in_progress", "done")


@dataclass(frozen=True, slots=True)
class Call:
    """A checker's name, its plain arguments, and its options by name without the dashes.

    An entry of a list that stands in the same list of the `shipped` files is not judged.
    """

    name: str
    arguments: tuple[str, ...]
    options: Mapping[str, str]
    shipped: Files


OPTIONS: Mapping[str, frozenset[str]] = {
    "check_iso8601": frozenset(), "check_filename": frozenset({"dir", "ext", "min-count"}),
    "check_metadata": frozenset(), "check_backup": frozenset(),
    "check_done_log": frozenset({"min-entries", "task-prefix"}),
}  # fmt: skip


def passes(call: Call, files: Files, variant: Variant) -> bool:
    """Whether the check passes on this workspace."""
    if not set(call.options) <= OPTIONS[call.name]:
        return False
    try:
        return CHECKERS[call.name](call, files, variant)
    except (IndexError, KeyError, ValueError, RecursionError):
        return False


def is_time(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(ISO, value) is not None


def _iso8601(call: Call, files: Files, variant: Variant) -> bool:
    path, *names = call.arguments
    document = json.loads(files[path])
    shipped = parsed(call.shipped.get(path, ""))
    for name in names:
        values = list(_walk(document, shipped, name.split("."), variant))
        if not all(map(is_time, values)) or (variant == "repaired" and not values):
            return False
    return bool(names)


def _walk(value: Any, shipped: Any, path: Sequence[str], variant: Variant) -> Iterator[Any]:
    """The values at a dotted path, where `[]` walks a list. None stands for a field that is not there.

    Entries that stand in the list at the same place of `shipped` are passed over. As shipped, a list that is not there
    has no values, and none of them is wrong; repaired, it is a missing field.
    """
    if not path:
        yield value
        return
    key, rest = path[0].removesuffix("[]"), path[1:]
    inner = value.get(key) if isinstance(value, dict) else None
    own = shipped.get(key) if isinstance(shipped, dict) else None
    if not path[0].endswith("[]"):
        yield from _walk(inner, own, rest, variant) if inner is not None else (None,)
    elif isinstance(inner, list):
        for item in inner:
            if not (isinstance(own, list) and item in own):
                yield from _walk(item, None, rest, variant)
    elif variant == "repaired":
        yield None


def _filename(call: Call, files: Files, _variant: Variant) -> bool:
    if "dir" not in call.options:
        return NAME.fullmatch(PurePosixPath(call.arguments[0]).name) is not None
    folder, ending = PurePosixPath(call.options["dir"]), "." + call.options["ext"].removeprefix(".")
    names = [PurePosixPath(path) for path in files if PurePosixPath(path).parent == folder]
    fitting = [path for path in names if path.suffix == ending and NAME.fullmatch(path.name)]
    return len(fitting) >= int(call.options.get("min-count", "1"))


def _metadata(call: Call, files: Files, _variant: Variant) -> bool:
    (path,) = call.arguments
    meta = READERS[PurePosixPath(path).suffix](files[path])
    return is_time(meta.get("created_at")) and bool(meta.get("author")) and meta.get("status") in STATES


def _backup(call: Call, files: Files, _variant: Variant) -> bool:
    (path,) = call.arguments
    kept = files.get(f"{path}.bak")
    return kept is not None and kept != files.get(path)


def _done_log(call: Call, files: Files, _variant: Variant) -> bool:
    (path,) = call.arguments
    lines = [line for line in files[path].splitlines() if line.strip()]
    entries = [LOG_LINE.fullmatch(line.rstrip()) for line in lines]
    if not entries or len(entries) < int(call.options.get("min-entries", "1")):
        return False
    last = entries[-1]
    return all(entries) and last is not None and last["task"].startswith(call.options.get("task-prefix", ""))


def _of_json(text: str) -> dict[str, Any]:
    document = json.loads(text)
    meta = document.get("meta") if isinstance(document, dict) else None
    return meta if isinstance(meta, dict) else {}


def _of_front_matter(text: str) -> dict[str, Any]:
    found = re.match(r"\s*---\n(.*?)\n---\s*(?:\n|$)", text, re.DOTALL)
    return _pairs(found.group(1)) if found else {}


def _of_python(text: str) -> dict[str, Any]:
    try:
        told = ast.get_docstring(ast.parse(text)) or ""
    except SyntaxError:
        return {}
    _, mark, meta = told.partition("Meta:")
    return _pairs(meta) if mark else {}


def _of_csv(text: str) -> dict[str, Any]:
    found = re.match(r"# meta: (.*)", text)
    return dict(re.findall(r"(\w+)=([^\s,;]+)", found.group(1))) if found else {}


def _of_yaml(text: str) -> dict[str, Any]:
    try:
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - the loader that makes texts and nothing else
    except yaml.YAMLError:
        return {}
    meta = document.get("meta") if isinstance(document, dict) else None
    return meta if isinstance(meta, dict) else {}


def _pairs(text: str) -> dict[str, Any]:
    return {key: value.strip().strip("'\"") for key, value in re.findall(r"^\s*(\w+):[ \t]*(.+)$", text, re.MULTILINE)}


READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    ".json": _of_json, ".md": _of_front_matter, ".txt": _of_front_matter, ".py": _of_python, ".csv": _of_csv,
    ".yaml": _of_yaml, ".yml": _of_yaml,
}  # fmt: skip
CHECKERS: Mapping[str, Callable[[Call, Files, Variant], bool]] = {
    "check_iso8601": _iso8601, "check_filename": _filename, "check_metadata": _metadata, "check_backup": _backup,
    "check_done_log": _done_log,
}  # fmt: skip
