"""The live skills as MCP shows them: tools, resources and prompts. Pure, but for the types of the `mcp` package.

Code skills are tools. Each skill's files are resources, `skill://NAME/SKILL.md` and so on; its text is a prompt too,
for the people who pick skills from a menu. Lists are cut into pages, ordered by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import mcp_types as types

from metaclaw.errors import SkillError
from metaclaw.library.skillfile import render
from metaclaw.library.tool import Tool, tool_of
from metaclaw.types import Skill, SkillKind

log = logging.getLogger(__name__)

PAGE = 200
REQUEST = "request"  # the one argument of a prompt
MIME_TYPES = {"md": "text/markdown", "py": "text/x-python", "json": "application/json"}
Listed = TypeVar("Listed", types.Tool, types.Resource, types.Prompt)


@dataclass(frozen=True)
class Shelf:
    """The live skills of one generation, ordered by name."""

    generation: int
    skills: Sequence[Skill]

    @cached_property
    def tools(self) -> Mapping[str, Tool]:
        """The code skills that can be called, by the name to call them by. A broken one is left out, and logged."""
        found: dict[str, Tool] = {}
        for skill in self.skills:
            if skill.kind is SkillKind.CODE:
                try:
                    tool = tool_of(skill)
                    found[tool.name] = tool
                except SkillError as error:
                    log.warning("not offered as a tool: %s", error)
        return found

    @cached_property
    def texts(self) -> Mapping[str, tuple[Skill, str]]:
        """Every file of every skill by its address, with the skill that it belongs to."""
        return {
            address(skill, path): (skill, text)
            for skill in self.skills for path, text in (("SKILL.md", render(skill)), *skill.files)
        }

    def tool_page(self, after: str | None) -> tuple[list[types.Tool], str | None]:
        told = [
            types.Tool(name=tool.name, description=tool.description, input_schema=dict(tool.parameters))
            for tool in self.tools.values()
        ]
        return _page(told, [tool.name for tool in told], after)

    def resource_page(self, after: str | None) -> tuple[list[types.Resource], str | None]:
        told = [
            types.Resource(
                uri=uri, name=uri.removeprefix("skill://"), description=skill.description,
                mime_type=mime_type(uri), size=len(text.encode()),
            )
            for uri, (skill, text) in self.texts.items()
        ]
        return _page(told, list(self.texts), after)

    def prompt_page(self, after: str | None) -> tuple[list[types.Prompt], str | None]:
        asked = types.PromptArgument(name=REQUEST, description="What to do with it.", required=False)
        told = [
            types.Prompt(name=skill.name, description=skill.description, arguments=[asked]) for skill in self.skills
        ]
        return _page(told, [skill.name for skill in self.skills], after)

    def prompt(self, name: str, request: str) -> types.GetPromptResult | None:
        """The skill's text, and below it what is asked; None where there is no such skill."""
        skill = next((skill for skill in self.skills if skill.name == name), None)
        if skill is None:
            return None
        text = f"{skill.body.strip()}\n\n{request}".strip()
        message = types.PromptMessage(role="user", content=types.TextContent(text=text))
        return types.GetPromptResult(description=skill.description, messages=[message])


def address(skill: Skill, path: str) -> str:
    return f"skill://{skill.name}/{path}"


def mime_type(path: str) -> str:
    return MIME_TYPES.get(path.rpartition(".")[2], "text/plain")


def _page(items: list[Listed], keys: Sequence[str], after: str | None) -> tuple[list[Listed], str | None]:
    """The items behind the key `after`, and the key to go on from; None at the end."""
    ordered = sorted(zip(keys, items, strict=True), key=lambda one: one[0])
    rest = [one for one in ordered if after is None or one[0] > after]
    page = rest[:PAGE]
    return [item for _, item in page], page[-1][0] if len(rest) > PAGE else None
