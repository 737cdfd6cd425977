"""The MCP server: answers from the library as it is now, runs tools in the sandbox, and says when the library changed.

It speaks both eras of the protocol: clients that shake hands get `list_changed` notifications on their standing
stream, newer ones on the streams that they opened with `subscriptions/listen`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server import NotificationOptions, Server
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.models import InitializationOptions
from mcp.server.session import ServerSession
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError

from metaclaw.errors import MetaClawError, SandboxError, SkillError
from metaclaw.library.catalog import Catalog
from metaclaw.library.tool import arguments_of, as_text
from metaclaw.mcp_server.shelf import REQUEST, Shelf, mime_type
from metaclaw.sandbox import Call, Sandbox

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # how often the generation is looked at: an indexed read
MOST_SESSIONS = 256  # older ones are told of no changes: the protocol does not say when one has ended
INSTRUCTIONS = (
    "Skills that this user's agents have learned. Tools compute what their description says, in a sandbox: prefer their"
    " answer to your own. Resources and prompts say how this user wants things done."
)
Context = ServerRequestContext[Any, Any]
Paged = types.PaginatedRequestParams | None


class SkillServer(Server[Any]):
    """One namespace's skills. Whoever made it owns catalog and sandbox; `follow` runs while it serves."""

    def __init__(self, catalog: Catalog, sandbox: Sandbox, version: str) -> None:
        self._bus = InMemorySubscriptionBus()
        super().__init__(
            "metaclaw",
            version=version,
            instructions=INSTRUCTIONS,
            lifespan=_following,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_subscriptions_listen=ListenHandler(self._bus),
        )
        self.middleware.append(self._remember)
        self._catalog = catalog
        self._sandbox = sandbox
        self._shelf = Shelf(-1, ())
        self._unvouched: frozenset[str] = frozenset()
        self._sessions: OrderedDict[int, ServerSession] = OrderedDict()

    def create_initialization_options(
        self,
        notification_options: NotificationOptions | None = None,
        experimental_capabilities: dict[str, dict[str, Any]] | None = None,
        extensions: dict[str, dict[str, Any]] | None = None,
    ) -> InitializationOptions:
        """All lists change, on every transport."""
        options = notification_options or NotificationOptions(True, True, True)
        return super().create_initialization_options(options, experimental_capabilities, extensions)

    async def follow(self) -> None:
        """Tell clients whenever the generation has risen. Ends when cancelled."""
        told = self._catalog.generation()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                generation = self._catalog.generation()
            except MetaClawError as error:
                log.warning("the library cannot be read, trying again: %s", error)
                continue
            if generation != told:
                told = generation
                await self._announce()

    def shelf(self) -> Shelf:
        """What is live now, and may leave: not what came out of a conversation and nobody vouches for."""
        unvouched = self._catalog.unvouched()  # changes with a person's word, without a new generation
        if (self._catalog.generation(), unvouched) != (self._shelf.generation, self._unvouched):
            generation, skills = self._catalog.snapshot()
            self._shelf = Shelf(generation, [skill for skill in skills if skill.ref not in unvouched])
            self._unvouched = unvouched
        return self._shelf

    async def _announce(self) -> None:
        for event in (ToolsListChanged(), ResourcesListChanged(), PromptsListChanged()):
            await self._bus.publish(event)
        for session in list(self._sessions.values()):
            await session.send_tool_list_changed()
            await session.send_resource_list_changed()
            await session.send_prompt_list_changed()

    async def _remember(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Keep the way to each client that has shaken hands."""
        if ctx.method == "notifications/initialized":
            self._sessions[id(ctx.session)] = ctx.session
            while len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return await call_next(ctx)

    async def _list_tools(self, _: Context, params: Paged) -> types.ListToolsResult:
        tools, cursor = self.shelf().tool_page(params.cursor if params else None)
        return types.ListToolsResult(tools=tools, next_cursor=cursor)

    async def _list_resources(self, _: Context, params: Paged) -> types.ListResourcesResult:
        resources, cursor = self.shelf().resource_page(params.cursor if params else None)
        return types.ListResourcesResult(resources=resources, next_cursor=cursor)

    async def _list_prompts(self, _: Context, params: Paged) -> types.ListPromptsResult:
        prompts, cursor = self.shelf().prompt_page(params.cursor if params else None)
        return types.ListPromptsResult(prompts=prompts, next_cursor=cursor)

    async def _read_resource(self, _: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        uri = str(params.uri)
        found = self.shelf().texts.get(uri)
        if found is None:
            raise _unknown("resource", uri, "resources/list")
        contents = types.TextResourceContents(uri=uri, mime_type=mime_type(uri), text=found[1])
        return types.ReadResourceResult(contents=[contents])

    async def _get_prompt(self, _: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        prompt = self.shelf().prompt(params.name, (params.arguments or {}).get(REQUEST, ""))
        if prompt is None:
            raise _unknown("skill", params.name, "prompts/list")
        return prompt

    async def _call_tool(self, _: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """What went wrong is told as the tool's result: the model that called can act on it."""
        tool = self.shelf().tools.get(params.name)
        if tool is None:
            raise _unknown("tool", params.name, "tools/list")
        try:
            arguments = arguments_of(tool, params.arguments or {})
            result = await self._sandbox.run(Call(tool.source, tool.entry, arguments))
        except (SkillError, SandboxError) as error:
            return _said(str(error), failed=True)
        return _said(as_text(result.value)) if result.ok else _said(f"{tool.name} failed: {result.error}", failed=True)


def _said(text: str, *, failed: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=failed)


def _unknown(what: str, name: str, lister: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS, f"There is no {what} '{name[:200]}'. {lister} names those there are.")


@asynccontextmanager
async def _following(server: Server[Any]) -> AsyncIterator[dict[str, Any]]:
    assert isinstance(server, SkillServer)  # noqa: S101 - it is handed to no other
    following = asyncio.create_task(server.follow())
    try:
        yield {}
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
