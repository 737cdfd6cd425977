"""A dashboard on the test's own loop, over whatever is in a data folder."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path

import aiohttp

from metaclaw.config.settings import Settings
from metaclaw.dashboard.server import Dashboard
from metaclaw.evolve.screen import objections
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.dashboard import dashboard_of
from metaclaw.runtime.home import Home
from metaclaw.serving.routes import Routes
from metaclaw.store import Database

TOKEN = "mc-test-token-0123456789abcdefghijklmn"


@dataclass
class Office:
    """What a test holds: the dashboard, what is behind it, and a client that came in by a link."""

    dashboard: Dashboard
    database: Database
    catalog: Catalog
    routes: Routes
    settings: Settings
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self.dashboard.url

    async def link(self) -> str:
        async with self.http.post("/link", headers={"authorization": f"Bearer {TOKEN}"}) as reply:
            return str((await reply.json())["url"])

    async def enter(self) -> str:
        """Open a link; the cookie that comes of it stays with `http`."""
        async with self.http.get(await self.link(), allow_redirects=False) as reply:
            [(name, morsel)] = SimpleCookie(reply.headers["set-cookie"]).items()
        self.http.headers["cookie"] = f"{name}={morsel.value}"
        return self.http.headers["cookie"]

    async def text(self, path: str) -> str:
        async with self.http.get(path) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.text()


@asynccontextmanager
async def opened(
    home: Path, cannot_train: str = "", port: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[Office]:
    settings = Settings.model_validate({
        "data_dir": str(home), "schedule": {"sleep_hours": "23:00-07:00"}, "dashboard": {"host": host},
    })
    places = Home(settings)
    with Database(places.store) as database:
        catalog = Catalog(database, settings.namespace, places.skills)
        dashboard = dashboard_of(
            settings, catalog, database, lambda skill: objections(skill, Redactor()), None, cannot_train,
            "http://127.0.0.1:9", TOKEN,  # nobody is there
        )
        await dashboard.listen(port)
        async with aiohttp.ClientSession(dashboard.url, timeout=aiohttp.ClientTimeout(total=20)) as http:
            yield Office(dashboard, database, catalog, Routes(database, settings.namespace), settings, http)
        await dashboard.close()


class Form:
    """Sends the forms of a browser that came in."""

    def __init__(self, office: Office) -> None:
        self._office = office

    async def led(self, path: str, referer: str, **fields: str) -> str:
        """Where whoever sends it is led."""
        found = re.search(r'name="word" value="(\w+)"', await self._office.text("/skills"))
        assert found
        headers = {"origin": self._office.url, "referer": referer}
        data = {"word": found[1], **fields}
        async with self._office.http.post(path, data=data, headers=headers, allow_redirects=False) as reply:
            assert reply.status == 303, await reply.text()
            return reply.headers["location"]

    async def send(self, path: str, page: str, **fields: str) -> str:
        """What the next page says of it."""
        shown = await self._office.text(await self.led(path, f"{self._office.url}{page}", **fields))
        found = re.search(r'<p class="notice[^>]*>(.*?)</p>', shown)
        assert found
        return html.unescape(found[1])
