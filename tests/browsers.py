"""Real Chromium, driven by Playwright: pages that tell what went wrong in them, and axe's view of them.

With TEST_SCREENSHOTS set to a folder, pictures of what the tests see are kept there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "" if CHROMIUM and find_spec("playwright") else "needs Chromium (apt-get install chromium) and Playwright"
PICTURES = os.environ.get("TEST_SCREENSHOTS")
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
WORSE = ("serious", "critical")


@dataclass
class Tab:
    """A page; `wrong` are its console's errors, exceptions, dialogs and what could not be loaded."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def watch(self) -> None:
        page = self.page
        page.on("console", lambda said: self.wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", self._not_loaded)
        page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))

    def _not_loaded(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a poll that was under way when the page was left
            self.wrong.append(f"not loaded: {request.url}: {request.failure}")

    async def picture(self, name: str) -> None:
        if PICTURES:
            Path(PICTURES).mkdir(parents=True, exist_ok=True)
            await self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)

    async def findings(self, rule: str = "") -> list[str]:
        """What axe finds that is serious, by rule, with the first element that it is about; with all rules or one."""
        if not await self.page.evaluate("typeof axe !== 'undefined'"):
            await self.page.evaluate(_axe())
        options = {"resultTypes": ["violations"], **({"runOnly": [rule]} if rule else {})}
        result = await self.page.evaluate("options => axe.run(document, options)", options)
        return [_told(one) for one in result["violations"] if one["impact"] in WORSE]


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright

    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        await opened.close()


async def tab_of(opened: Browser, **kind: Any) -> Tab:
    """In a context of its own: other cookies, and `kind` as Playwright names it."""
    context = await opened.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **kind})
    context.set_default_timeout(10_000)
    tab = Tab(await context.new_page())
    tab.watch()
    return tab


def _axe() -> str:
    spec = find_spec("axe_playwright_python")
    assert spec
    assert spec.origin
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def _told(violation: Mapping[str, Any]) -> str:
    node = violation["nodes"][0]
    return f"{violation['id']} ({violation['impact']}): {node['html'][:200]}: {node['failureSummary'][:300]}"
