"""What is done from the pages: it happens through the rooms that own it, and the history says who did it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from metaclaw.journal.redact import Redactor
from metaclaw.runtime.home import Home
from metaclaw.runtime.library import edits_of
from metaclaw.scheduler.board import Board
from metaclaw.training.registry import Registry
from metaclaw.types import AdapterState, SkillState
from office_dashboard import Form, Office, opened
from support import make_skill


@pytest.fixture
async def form(office: Office) -> Form:
    await office.enter()
    return Form(office)


async def test_a_skill_that_waits_is_approved_as_it_was_read(office: Office, form: Form) -> None:
    waiting = office.catalog.candidate("release-notes")
    assert waiting
    told = await form.send("/skills/release-notes/approve", "/skills/release-notes", version=str(waiting.version))
    assert "release-notes@1 is live" in told
    assert office.catalog.get("release-notes").state is SkillState.ACTIVE
    assert office.catalog.changes_of("release-notes")[-1].reason == "approved by a person, on the dashboard"
    assert (office.catalog.folder / "release-notes" / "SKILL.md").is_file()


async def test_what_waits_and_nobody_vouches_for_is_approved_too(office: Office, form: Form) -> None:
    held = office.catalog.hold(make_skill("quoted-rule"), "passes on a text", unvouched=True)
    told = await form.send("/skills/quoted-rule/approve", "/skills/quoted-rule", version=str(held.version))
    assert "is live" in told
    assert office.catalog.get("quoted-rule").state is SkillState.ACTIVE
    assert held.ref not in office.catalog.unvouched()


async def test_a_claim_on_trial_is_shown_with_its_reason_and_vouched_for(office: Office, form: Form) -> None:
    why = "the user's own words, on trial: active once approved"
    tried, _ = office.catalog.publish(make_skill("claimed-rule"), SkillState.TRIAL, why, [], unvouched=True)
    assert "until vouched for" in await office.text("/skills")
    page = await office.text("/skills/claimed-rule")
    assert "active once approved" in page
    assert "Approve: these are my words" in page
    assert "any more" in await form.send("/skills/claimed-rule/approve", "/skills/claimed-rule", version="9")
    assert office.catalog.get("claimed-rule").state is SkillState.TRIAL
    told = await form.send("/skills/claimed-rule/approve", "/skills/claimed-rule", version=str(tried.version))
    assert f"{tried.ref} is active" in told
    assert office.catalog.get("claimed-rule").state is SkillState.ACTIVE
    assert "Approve: these are my words" not in await office.text("/skills/claimed-rule")


async def test_another_version_than_the_one_that_was_read_is_not_approved(office: Office, form: Form) -> None:
    told = await form.send("/skills/release-notes/approve", "/skills/release-notes", version="7")
    assert "Read it first" in told
    assert office.catalog.get("release-notes").state is SkillState.CANDIDATE


async def test_a_skill_that_waits_is_rejected(office: Office, form: Form) -> None:
    assert "was rejected" in await form.send("/skills/all-mails/reject", "/", version="1")
    assert office.catalog.get("all-mails").state is SkillState.RETIRED
    assert office.catalog.changes_of("all-mails")[-1].reason == "rejected by a person, on the dashboard"
    assert "waits for you any more" in await form.send("/skills/all-mails/reject", "/", version="1")


async def test_a_skill_is_retired_and_brought_back(office: Office, form: Form) -> None:
    told = await form.send("/skills/iso-dates/retire", "/skills/iso-dates", reason="  we changed\nit ")
    assert "iso-dates is out of use" in told
    assert office.catalog.changes_of("iso-dates")[-1].reason == "retired by a person, on the dashboard: we changed it"
    assert "not in use" in await form.send("/skills/iso-dates/retire", "/skills/iso-dates")
    assert "is live as iso-dates@3" in await form.send("/skills/iso-dates/rollback", "/skills/iso-dates")
    assert office.catalog.changes_of("iso-dates")[-1].reason == "rolled back by a person, on the dashboard"
    assert office.catalog.get("iso-dates").state is SkillState.ACTIVE


async def test_rolling_back_goes_to_the_text_of_before(office: Office, form: Form) -> None:
    page = await office.text("/skills/iso-dates")
    assert "Version 2 leaves, and version 1 is live again." in page
    await form.send("/skills/iso-dates/rollback", "/skills/iso-dates")
    assert "slashes or dots" not in office.catalog.get("iso-dates").body


async def test_a_broken_edit_is_thrown_away(office: Office, form: Form) -> None:
    catalog = office.catalog
    catalog.follow("iso-dates")
    file = catalog.folder / "iso-dates" / "SKILL.md"
    good = file.read_text(encoding="utf-8")
    file.write_text("---\nname: [\n---\n", encoding="utf-8")
    edits_of(catalog, Redactor()).sweep()
    assert "Its file is broken" in await office.text("/skills/iso-dates")
    assert "stands in its file again" in await form.send("/skills/iso-dates/discard", "/skills/iso-dates")
    assert file.read_text(encoding="utf-8") == good
    assert "is not broken" in await form.send("/skills/iso-dates/discard", "/skills/iso-dates")


async def test_an_adapter_is_rolled_back(office: Office, form: Form) -> None:
    adapter = office.routes.state().wanted
    assert adapter
    assert "the base model serves" in await form.send(f"/adapters/{adapter}/rollback", "/adapters")
    assert office.routes.state().wanted is None
    registry = Registry(office.database, "default", Home(office.settings).adapters)
    assert registry.get(adapter).state is AdapterState.ROLLED_BACK
    assert "no longer what is wanted" in await form.send(f"/adapters/{adapter}/rollback", "/adapters")


async def test_an_adapter_is_put_on_trial_and_taken_back(office: Office, form: Form) -> None:
    """What a verdict admits may serve a share; a roll-back undoes the trial, and leaves what serves all."""
    adapter = office.routes.state().wanted
    assert adapter
    office.routes.want(None, "test")
    office.routes.now_serving(None, "test")
    assert "Promote" in await office.text(f"/adapters/{adapter}")
    await form.send(f"/adapters/{adapter}/promote", f"/adapters/{adapter}")
    assert office.routes.state().canary == adapter
    assert "about to go on trial" in await office.text("/adapters")
    await form.send(f"/adapters/{adapter}/rollback", "/adapters")
    assert (office.routes.state().canary, office.routes.state().wanted) == (None, None)


async def test_what_no_verdict_admits_is_not_promoted(office: Office, form: Form) -> None:
    registry = Registry(office.database, "default", Home(office.settings).adapters)
    rejected = next(one for one in registry.all() if one.state is AdapterState.REJECTED)
    assert "Promote" not in await office.text(f"/adapters/{rejected.name}")
    told = await form.send(f"/adapters/{rejected.name}/promote", f"/adapters/{rejected.name}")
    assert "No verdict admits" in told
    assert office.routes.state().canary is None


async def test_training_is_asked_for(office: Office, form: Form) -> None:
    board = Board(office.database, "default")
    assert board.asked_seconds() is None
    assert "Asked for" in await form.send("/training/now", "/training")
    assert board.asked_seconds() is not None


async def test_training_is_paused_and_resumed(office: Office, form: Form) -> None:
    board = Board(office.database, "default")
    assert "Paused." in await form.send("/training/pause", "/training")
    assert board.held_seconds() == float("inf")
    shown = await office.text("/training")
    assert "nothing trains until you resume it" in shown
    assert "Train now</button>" not in shown
    assert "Resumed" in await form.send("/training/resume", "/training")
    assert board.held_seconds() is None
    assert "Train now</button>" in await office.text("/training")


async def test_where_there_is_no_model_no_training_is_asked_for(office_home: Path) -> None:
    async with opened(office_home, cannot_train="With a provider there is no model here to train.") as office:
        await office.enter()
        assert "With a provider" in await Form(office).send("/training/now", "/training")
        assert Board(office.database, "default").asked_seconds() is None
        assert "Train now</button>" not in await office.text("/training")


async def test_one_who_comes_from_nowhere_known_is_led_to_the_first_page(office: Office, form: Form) -> None:
    for strange in (f"{office.url}//evil.example/x", "http://evil.example/skills/none", "", "::"):
        assert urlsplit(await form.led("/skills/none/retire", strange)).netloc == ""
    assert await form.led("/skills/none/retire", f"{office.url}//evil.example/x") == "/"
