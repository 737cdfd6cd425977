"""The agent's tools over a workspace of texts: read, write, edit, list, and run, a Python program in the sandbox.

The workspace lives in memory; no tool touches this machine's files, so that neither the checkers nor the rules are
within reach. A tool that cannot do what it is asked says so in its result, as tools do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from metaclaw.bench.workdays.questions import safe_path
from metaclaw.errors import SandboxError
from metaclaw.sandbox import Call, Sandbox

MOST_FILES, MOST_CHARACTERS, SHOWN_CHARACTERS = 200, 200_000, 8_000
# What runs in the jail: the workspace in its own folder, the program, and the workspace as the program left it.
RUNNER = '''
import os, traceback

def run(files, program):
    for path, text in files.items():
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    error = ""
    try:
        exec(compile(program, "program.py", "exec"), {"__name__": "__main__"})
    except BaseException:
        error = traceback.format_exc(limit=-3)
    found = {}
    for folder, _, names in os.walk("."):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), ".")
            with open(path, encoding="utf-8", errors="replace", newline="") as file:
                found[path] = file.read()
    return {"files": found, "error": error}
'''


def _tool(name: str, description: str, **texts: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": told} for key, told in texts.items()}
    schema = {"type": "object", "properties": properties, "required": list(texts), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = [
    _tool("list", "List the files of the workspace."),
    _tool("read", "Read a file of the workspace.", path="Its path."),
    _tool("write", "Write a whole file of the workspace; an existing one is replaced.", path="Its path.",
          content="All that shall stand in it."),
    _tool("edit", "Replace a text that occurs once in a file by another.", path="The file's path.", old="The text.",
          new="What shall stand there instead."),
    _tool("run", "Run a Python program in the workspace, with the standard library and no network.",
          program="The program's source."),
]  # fmt: skip


class Workspace:
    """The files of a day, by path, and the tools on them."""

    def __init__(self, files: Mapping[str, str], sandbox: Sandbox) -> None:
        self.files = dict(files)
        self._sandbox = sandbox

    async def call(self, name: str, arguments: str) -> str:
        """Do what a tool call asks and tell what came of it, cut to what a model can take."""
        try:
            given = json.loads(arguments or "{}")
        except ValueError:
            return "Error: the arguments are not valid JSON."
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            return "Error: the arguments must be an object of texts."
        try:
            told = await self._run(given["program"]) if name == "run" else self._plain(name)(**given)
        except (KeyError, TypeError):
            return f"Error: there is no tool {name} that takes {', '.join(given) or 'nothing'}."
        return told if len(told) <= SHOWN_CHARACTERS else told[:SHOWN_CHARACTERS] + "\n[cut]"

    def _plain(self, name: str) -> Callable[..., str]:
        tools: Mapping[str, Callable[..., str]] = {
            "list": self._list, "read": self._read, "write": self._write, "edit": self._edit,
        }  # fmt: skip
        return tools[name]

    def _list(self) -> str:
        return "\n".join(sorted(self.files))

    def _read(self, path: str) -> str:
        found = self.files.get(safe_path(path) or "")
        return f"Error: there is no file {path}." if found is None else found

    def _write(self, path: str, content: str) -> str:
        safe = safe_path(path)
        if safe is None:
            return "Error: the path must lie in the workspace."
        if len(content) > MOST_CHARACTERS or len(self.files) >= MOST_FILES:
            return "Error: the workspace is full."
        self.files[safe] = content
        return f"Written: {safe}"

    def _edit(self, path: str, old: str, new: str) -> str:
        text = self.files.get(safe_path(path) or "")
        if text is None:
            return f"Error: there is no file {path}."
        if not old or text.count(old) != 1:
            return f"Error: the text occurs {text.count(old) if old else 0} times in {path}, not once."
        return self._write(path, text.replace(old, new))

    async def _run(self, program: str) -> str:
        try:
            result = await self._sandbox.run(Call(RUNNER, "run", {"files": self.files, "program": program}))
        except SandboxError as error:
            return f"Error: programs cannot be run here. {error}"
        if not result.ok:
            return f"{result.stdout}\nError: {result.error}".strip()
        self._take(result.value["files"])
        return f"{result.stdout}\n{result.value['error']}".strip() or "The program printed nothing."

    def _take(self, files: Mapping[str, str]) -> None:
        """The workspace as a program left it, as far as it may be so."""
        kept = {path: text for path, text in list(files.items())[:MOST_FILES] if safe_path(path) == path}
        self.files = {path: text for path, text in kept.items() if len(text) <= MOST_CHARACTERS}
