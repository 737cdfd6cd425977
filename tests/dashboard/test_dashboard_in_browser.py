"""The dashboard in real Chromium: every page in light and dark and on a phone, and every action by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

import browsers
from browsers import PHONE, Tab, tab_of
from metaclaw.types import SkillState
from office_dashboard import Office
from support import keep, make_skill, make_turn

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.skipif(bool(browsers.MISSING), reason=browsers.MISSING)

PAGES = {
    "overview": "/", "turns": "/turns", "turns-failed": "/turns?show=failed", "turn": "/turns/turn-000100",
    "skills": "/skills", "skills-retired": "/skills?view=retired", "skill": "/skills/iso-dates",
    "skill-waiting": "/skills/all-mails", "skill-code": "/skills/working-days", "adapters": "/adapters",
    "training": "/training", "health": "/health",
}
DARK = ("overview", "turns-failed", "skills", "skill", "skill-waiting", "training", "health")  # all colours there are
KINDS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"}, "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": PHONE, "has_touch": True},
}


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with browsers.browser() as opened:
        yield opened


async def entered(chromium: Browser, office: Office, **kind: Any) -> Tab:
    tab = await tab_of(chromium, base_url=office.url, **kind)
    await tab.page.goto(await office.link())
    assert tab.page.url == f"{office.url}/"  # the key is gone from the address
    return tab


@pytest.mark.parametrize("kind", KINDS)
async def test_every_page(chromium: Browser, office: Office, kind: str) -> None:
    """No error in the console, nothing wider than the screen, and nothing serious that axe finds."""
    tab = await entered(chromium, office, **KINDS[kind])
    adapter = f"/adapters/{office.routes.state().wanted}"
    for name, path in {**PAGES, "adapter": adapter}.items():
        if kind == "dark" and name not in DARK:
            continue
        reply = await tab.page.goto(path)
        assert reply
        assert reply.status == 200
        for plot in await tab.page.locator("[data-plot]").all():
            await plot.locator("canvas").wait_for()
        await tab.picture(f"{name}-{kind}")
        too_wide = await tab.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert too_wide <= 0, (name, too_wide)
        if kind != "phone":  # what differs in the dark is colour alone
            assert await tab.findings("color-contrast" if kind == "dark" else "") == [], name
    assert tab.wrong == []


async def test_every_page_before_anything_happened(chromium: Browser, empty_office: Office) -> None:
    tab = await entered(chromium, empty_office)
    for name in ("overview", "turns", "skills", "adapters", "training", "health"):
        await tab.page.goto(PAGES[name])
        await tab.picture(f"{name}-empty")
        if name in ("overview", "training"):
            assert await tab.findings() == [], name
    assert tab.wrong == []


async def test_without_a_session_and_without_the_page(chromium: Browser, office: Office) -> None:
    tab = await tab_of(chromium, base_url=office.url)
    await tab.page.goto("/skills")
    assert "metaclaw dashboard" in await tab.page.inner_text("main")
    assert await tab.findings() == []
    await tab.picture("no-session")


async def test_all_can_be_read_without_scripts(chromium: Browser, office: Office) -> None:
    tab = await entered(chromium, office, java_script_enabled=False)
    shown = {"/": "#curve-table tbody tr", "/training": "#steps-table tbody tr", "/turns": ".turns li",
             "/skills": "table tbody tr", "/skills/iso-dates": ".diff .more"}
    for path, selector in shown.items():
        await tab.page.goto(path)
        assert await tab.page.locator(selector).first.is_visible(), path
    await tab.picture("no-scripts")


async def test_a_skill_is_approved_retired_and_rolled_back(chromium: Browser, office: Office) -> None:
    tab = await entered(chromium, office)
    page = tab.page
    await page.goto("/skills")
    await page.get_by_role("link", name="Read release-notes").click()
    await page.get_by_role("button", name="Approve").click()
    assert "release-notes@1 is live" in await page.get_by_role("status").inner_text()
    assert office.catalog.get("release-notes").state is SkillState.ACTIVE
    await page.get_by_text("Retire…").click()
    await page.get_by_label("Why, for the history").fill("we write them elsewhere")
    await tab.picture("skill-retire")
    assert await tab.findings() == []
    await page.get_by_role("button", name="Retire release-notes").click()
    assert "out of use" in await page.get_by_role("status").inner_text()
    assert "we write them elsewhere" in await page.inner_text("main")
    await page.get_by_text("Roll back…").click()
    await page.get_by_role("button", name="Roll back").click()
    assert "is live as release-notes@2" in await page.get_by_role("status").inner_text()
    await page.goto("/skills/iso-dates")
    await page.get_by_label("to", exact=True).select_option("1")
    await page.get_by_role("button", name="Compare").click()
    assert "They say the same" in await page.inner_text("#difference")
    assert tab.wrong == []


async def test_a_claim_on_trial_is_vouched_for(chromium: Browser, office: Office) -> None:
    why = "the user's own words, on trial: active once approved, or posted with the right answer"
    office.catalog.publish(make_skill("units-in-tables"), SkillState.TRIAL, why, [], unvouched=True)
    tab = await entered(chromium, office)
    await tab.page.goto("/skills")
    await tab.picture("skills-claim")
    await tab.page.get_by_role("link", name="units-in-tables").click()
    await tab.picture("skill-claim")
    assert await tab.findings() == []
    await tab.page.get_by_role("button", name="Approve").click()
    assert "units-in-tables@1 is active" in await tab.page.get_by_role("status").inner_text()
    assert office.catalog.get("units-in-tables").state is SkillState.ACTIVE
    assert tab.wrong == []


async def test_all_else_that_can_be_done(chromium: Browser, office: Office) -> None:
    tab = await entered(chromium, office)
    page = tab.page
    await page.get_by_role("button", name="Reject all-mails").click()
    assert "was rejected" in await page.get_by_role("status").inner_text()
    adapter = office.routes.state().wanted
    await page.get_by_role("link", name="Adapters").click()
    await page.get_by_text("Roll back…").click()
    await page.get_by_role("button", name=f"Roll back {adapter}").click()
    assert "the base model serves" in await page.get_by_role("status").inner_text()
    assert office.routes.state().wanted is None
    await page.get_by_role("link", name="Training").click()
    await page.get_by_role("button", name="Train now").click()
    assert "Asked for" in await page.get_by_role("status").inner_text()
    await page.get_by_role("button", name="Sign out").click()
    assert "metaclaw dashboard" in await page.inner_text("main")
    # the page that says so is a 401, which Chromium tells in the console
    assert [one for one in tab.wrong if "401" not in one] == []


async def test_turns_come_by_themselves_and_leave_the_reader_where_he_is(chromium: Browser, office: Office) -> None:
    tab = await entered(chromium, office)
    page = tab.page
    await page.goto("/turns")
    link = page.locator(".turns .asked").nth(3)
    name = await link.get_attribute("id")
    await link.focus()
    await keep(office.database, make_turn("Something quite new?"))
    await page.get_by_text("Something quite new?").wait_for()
    assert await page.evaluate("document.activeElement.id") == name
    await page.get_by_role("link", name="Pause").click()
    await page.get_by_role("link", name="Go on").wait_for()
    assert await page.locator("[hx-get]").count() == 0
    assert tab.wrong == []


async def test_the_keyboard_is_enough(chromium: Browser, office: Office) -> None:
    """From the first key on: skip to the content, open what asks twice, and do it; the focus can be seen."""
    tab = await entered(chromium, office)
    page = tab.page
    await page.goto("/skills/amounts")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    await page.keyboard.press("Enter")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if (await page.evaluate("document.activeElement.textContent")).startswith("Retire"):
            break
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.type("by keys alone")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.get_by_role("status").wait_for()
    assert office.catalog.changes_of("amounts")[-1].reason.endswith("by keys alone")


async def test_the_picture_follows_the_reader_into_the_dark(chromium: Browser, office: Office) -> None:
    tab = await entered(chromium, office, color_scheme="light")
    page = tab.page
    await page.locator(".plot canvas").wait_for()
    light = await page.locator(".plot canvas").evaluate("canvas => canvas.toDataURL()")
    await page.emulate_media(color_scheme="dark")
    await page.wait_for_function("was => document.querySelector('.plot canvas')?.toDataURL() !== was", arg=light)
    assert await page.locator(".plot canvas").count() == 1
    await page.locator(".plot").hover()
    assert "judged" in await page.inner_text(".reading")
    assert tab.wrong == []
