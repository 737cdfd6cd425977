"""Rolling back undoes the last change of what is live, whatever happened before."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclaw.errors import SkillError
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import SkillState
from support import NAMESPACE, make_skill

ACTIVE, TRIAL, RETIRED = SkillState.ACTIVE, SkillState.TRIAL, SkillState.RETIRED
STEPS = st.lists(
    st.sampled_from(["publish", "trial", "hold", "approve", "reject", "retire", "rollback", "merge"]), max_size=12
)

LAST = st.sampled_from(["publish", "retire", "merge"])


def do(catalog: Catalog, step: str, text: str) -> None:
    """One act on the skill `a`; nothing where it does not apply."""
    try:
        waiting = catalog.candidate("a")
        if step in ("publish", "trial"):
            catalog.publish(make_skill("a", text), ACTIVE if step == "publish" else TRIAL, step, [])
        elif step == "hold":
            catalog.hold(make_skill("a", text), step)
        elif step in ("approve", "reject") and waiting:
            catalog.change_state(waiting, ACTIVE if step == "approve" else RETIRED, step)
        elif step == "retire":
            catalog.retire("a", step)
        elif step == "rollback":
            catalog.rollback("a", step)
        elif step == "merge":
            catalog.publish(make_skill("b", text), ACTIVE, step, [])
            catalog.publish(make_skill("a", text), ACTIVE, step, [], merging=[catalog.get("b")])
    except SkillError:
        pass


def live(catalog: Catalog) -> dict[str, tuple[str, SkillState]]:
    return {skill.name: (skill.body, skill.state) for skill in catalog.live()}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.lists(st.sampled_from("xyz"), min_size=12, max_size=12), LAST)
def test_the_last_change_is_undone_to_the_letter(steps: list[str], texts: list[str], last: str) -> None:
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder) / "s.db") as database:
        catalog = Catalog(database, NAMESPACE, Path(folder) / "skills")
        for step, text in zip(steps, texts, strict=False):
            do(catalog, step, text)
        if last == "merge":
            catalog.publish(make_skill("b", "theirs"), TRIAL, "new", [])
        before, generation = live(catalog), catalog.generation()
        if last == "retire" and "a" not in before:
            return
        do_last(catalog, last)
        assert live(catalog) != before
        catalog.rollback("a", "undo")
        assert live(catalog) == before
        assert catalog.generation() == generation + 2
        names = {path.parent.name for path in catalog.folder.glob("*/SKILL.md")}
        assert names == set(before)


def do_last(catalog: Catalog, last: str) -> None:
    if last == "publish":
        catalog.publish(make_skill("a", "a text that never was"), ACTIVE, "last", [])
    elif last == "retire":
        catalog.retire("a", "last")
    else:
        merging = [catalog.get("b")]
        catalog.publish(make_skill("a", "a text that never was"), ACTIVE, "last", [], merging=merging)
