"""The library over MCP, as the real client sees it: over stdio and over HTTP, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

pytest.importorskip("mcp")

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import PromptsListChanged, ResourcesListChanged, ToolsListChanged
from mcp_types import CallToolResult, TextContent, TextResourceContents

from metaclaw.cli.mcp import mcp
from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.errors import ConfigError, MetaClawError
from metaclaw.library.catalog import Catalog
from metaclaw.mcp_server.server import SkillServer
from metaclaw.mcp_server.shelf import PAGE, Shelf
from metaclaw.mcp_server.transports import listening
from metaclaw.sandbox import Sandbox
from metaclaw.store import Database
from metaclaw.types import Skill, SkillKind, SkillState
from support import make_skill

TOKEN = "a-token-of-tests"
SCRIPT = '''
def add_days(day: int, more: int = 1) -> int:
    """Add days.

    day: the first
    """
    if more < 0:
        raise ValueError("more must not be negative")
    return day + more
'''
CODE = Skill(
    "add-days", "For adding days.", "Call add_days.", kind=SkillKind.CODE, files=(("scripts/add_days.py", SCRIPT),)
)
Era = Literal["legacy", "auto"]


@dataclass
class Library:
    """A store on disk that a server in another process reads, and what starts such a server."""

    home: Path
    database: Database
    heard: list[str] = field(default_factory=list)

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.database, "default", self.home / "data" / "skills" / "default")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path),
            "METACLAW_DATA_DIR": str(self.home / "data"), "METACLAW_GATEWAY__TOKEN": TOKEN,
        }

    def publish(self, skill: Skill) -> None:
        self.catalog.publish(skill, SkillState.ACTIVE, "test", [])

    async def _hear(self, message: Any) -> None:
        self.heard.append(getattr(message, "method", str(message)))

    @asynccontextmanager
    async def over_stdio(self, era: Era) -> AsyncIterator[Client]:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "metaclaw", "mcp"], env=self.environment, cwd=str(self.home)
        )
        async with Client(command, mode=era, message_handler=self._hear) as client:
            yield client

    @asynccontextmanager
    async def http_server(self) -> AsyncIterator[str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "metaclaw", "mcp", "--http", "--port", "0"), env=self.environment, cwd=self.home,
            stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        assert process.stderr and process.stdout
        try:
            async with asyncio.timeout(30):
                said = (await process.stderr.readline()).decode()
            assert said.startswith("MCP at "), said
            yield said.removeprefix("MCP at ").strip()
        finally:
            process.terminate()
            async with asyncio.timeout(20):
                rest = (await process.stderr.read()).decode()
                await process.wait()
        assert "Traceback" not in rest
        assert await process.stdout.read() == b""

    @asynccontextmanager
    async def over_http(self, era: Era) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with self.http_server() as url, httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(url, http_client=http)
            async with Client(transport, mode=era, message_handler=self._hear) as client:
                yield client


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    (tmp_path / "data").mkdir()
    with Database(tmp_path / "data" / "metaclaw.db") as database:
        library = Library(tmp_path, database)
        library.publish(CODE)
        library.publish(make_skill("file-names", "Rule: the date first."))
        yield library


WAYS = [("over_stdio", "legacy"), ("over_stdio", "auto"), ("over_http", "legacy"), ("over_http", "auto")]
every_way = pytest.mark.parametrize(("way", "era"), WAYS, ids=[f"{way}-{era}" for way, era in WAYS])


def said(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


@every_way
async def test_a_client_finds_and_uses_what_was_learned(library: Library, way: str, era: Era) -> None:
    async with asyncio.timeout(60), getattr(library, way)(era) as client:
        await uses_everything(client)
        assert (client.protocol_version >= "2026") == (era == "auto")


async def uses_everything(client: Client) -> None:
    (tool,) = (await client.list_tools()).tools
    assert (tool.name, tool.description) == ("add_days", "Add days.\n\nday: the first\n\nFor adding days.")
    assert tool.input_schema["required"] == ["day"]
    right = await client.call_tool("add_days", {"day": 30})
    assert (said(right), right.is_error) == ("31", False)
    assert said(await client.call_tool("add_days", {"day": "30", "more": 5})) == "35"
    wrong = await client.call_tool("add_days", {"day": "x"})
    assert wrong.is_error and "'day' must be an integer, not \"x\"" in said(wrong)
    raised = await client.call_tool("add_days", {"day": 1, "more": -1})
    assert raised.is_error and "ValueError: more must not be negative" in said(raised)
    with pytest.raises(MCPError, match="There is no tool 'rm'"):
        await client.call_tool("rm", {})

    resources = (await client.list_resources()).resources
    assert [str(resource.uri) for resource in resources] == [
        "skill://add-days/SKILL.md", "skill://add-days/scripts/add_days.py", "skill://file-names/SKILL.md"
    ]
    (text,) = (await client.read_resource("skill://file-names/SKILL.md")).contents
    assert isinstance(text, TextResourceContents)
    assert text.text.startswith("---\nname: file-names\n") and text.mime_type == "text/markdown"
    with pytest.raises(MCPError, match="There is no resource"):
        await client.read_resource("skill://file-names/../../token")

    assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["add-days", "file-names"]
    prompt = await client.get_prompt("file-names", {"request": "Name the notes."})
    (message,) = prompt.messages
    assert isinstance(message.content, TextContent)
    assert message.content.text == "Rule: the date first.\n\nName the notes."
    with pytest.raises(MCPError, match="There is no skill 'nope'"):
        await client.get_prompt("nope")


@pytest.mark.parametrize("way", ["over_stdio", "over_http"])
async def test_a_client_that_shook_hands_is_told_when_the_library_changes(library: Library, way: str) -> None:
    async with asyncio.timeout(60), getattr(library, way)("legacy") as client:
        capabilities = client.server_capabilities
        assert capabilities.tools and capabilities.tools.list_changed
        assert capabilities.prompts and capabilities.prompts.list_changed
        assert len((await client.list_tools()).tools) == 1
        library.publish(Skill("add-two", CODE.description, CODE.body, kind=SkillKind.CODE, files=CODE.files))
        while len(library.heard) < 3:
            await asyncio.sleep(0.02)
        assert {method.split("/")[1] for method in library.heard} == {"tools", "resources", "prompts"}
        assert [tool.name for tool in (await client.list_tools()).tools] == ["add_days", "add_two"]


@pytest.mark.parametrize("way", ["over_stdio", "over_http"])
async def test_a_client_that_listens_is_told_when_the_library_changes(library: Library, way: str) -> None:
    async with asyncio.timeout(60), getattr(library, way)("auto") as client:
        listening = client.listen(tools_list_changed=True, prompts_list_changed=True, resources_list_changed=True)
        async with listening as events:
            library.catalog.rollback("add-days", "test")
            heard = [await anext(aiter(events)) for _ in range(3)]
        assert {type(event) for event in heard} == {ToolsListChanged, ResourcesListChanged, PromptsListChanged}
        assert (await client.list_tools()).tools == []


async def test_http_stands_behind_the_door(library: Library) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}}
    accept = {"Accept": "application/json, text/event-stream"}
    with_token = {**accept, "Authorization": f"Bearer {TOKEN}"}
    async with asyncio.timeout(60), library.http_server() as url, aiohttp.ClientSession() as session:

        async def status(url: str, headers: dict[str, str]) -> int:
            async with session.post(url, json=asked, headers=headers) as reply:
                return reply.status

        assert url.startswith("http://127.0.0.1:")
        assert await status(url, accept) == 401
        assert await status(url, {**accept, "Authorization": "Bearer wrong"}) == 401
        assert await status(url, {**with_token, "Origin": "https://evil.example"}) == 403
        assert await status(url, {**with_token, "Host": "evil.example"}) == 403
        assert await status(url, with_token) == 200
        assert await status(url.replace("/mcp", f"/t/{TOKEN}/mcp"), accept) == 200
        assert await status(url.replace("/mcp", "/t/wrong/mcp"), accept) == 401
        assert await status(url.replace("/mcp", "/else"), with_token) == 404


def test_a_port_that_is_taken_is_named() -> None:
    with listening(0) as taken, pytest.raises(MetaClawError, match="Choose another --port"):
        listening(taken.getsockname()[1])


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mcp" else find_spec(name))
    with pytest.raises(ConfigError, match=r"pip install 'metaclaw\[mcp\]'"):
        mcp()


def test_long_lists_come_in_pages() -> None:
    skills = [make_skill(f"skill-{number:04d}") for number in range(PAGE + 3)]
    shelf = Shelf(1, skills)
    first, cursor = shelf.prompt_page(None)
    assert cursor is not None
    second, end = shelf.prompt_page(cursor)
    assert end is None
    assert [prompt.name for prompt in [*first, *second]] == [skill.name for skill in skills]


def test_a_broken_code_skill_is_left_out_of_the_tools_only() -> None:
    broken = Skill("broken", "Broken.", "Broken.", kind=SkillKind.CODE, files=(("scripts/broken.py", "def f(x): ..."),))
    shelf = Shelf(1, [CODE, broken])
    assert list(shelf.tools) == ["add_days"]
    assert "skill://broken/scripts/broken.py" in shelf.texts


async def test_what_nobody_vouches_for_stays_here_until_somebody_does(tmp_path: Path) -> None:
    with Database(tmp_path / "store.db") as database:
        catalog = Catalog(database, "default", tmp_path / "skills")
        heard, _ = catalog.publish(make_skill("heard"), SkillState.TRIAL, "overheard", [], unvouched=True)
        sandbox = Sandbox(SandboxSettings())
        try:
            server = SkillServer(catalog, sandbox, "1")
            assert server.shelf().skills == []
            catalog.approve(heard, "a person")
            assert [skill.name for skill in server.shelf().skills] == ["heard"]
        finally:
            await sandbox.close()
