"""What the first minutes tell: each part's seconds, and whether the lesson was wanted and was heeded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaclaw.bench.first_minutes import report

SAID = {"first": "`budget_review_notes.txt`", "next": "`20260309_hiring_meeting.md`", "skills": "file-name@1"}


@pytest.mark.parametrize(("said", "seconds", "short"), [
    ({}, 60.0, set()),
    ({}, 600.0, {"minutes"}),
    ({"first": "20260304_budget_review.md"}, 60.0, {"first_request_wrong"}),
    ({"next": "hiring_meeting.md"}, 60.0, {"next_request_right"}),
    ({"skills": ""}, 60.0, {"next_request_has_the_skill"}),
])
def test_the_checks_hold_where_they_should(
    tmp_path: Path, said: dict[str, str], seconds: float, short: set[str]
) -> None:
    path = report(tmp_path, {"clone": 1.0, "set-up": 120.0}, {"weights": seconds}, {**SAID, **said})
    told = json.loads(path.read_text())
    assert path.name == "first-minutes.json"
    assert {name for name, check in told["checks"].items() if not check["holds"]} == short
    assert told["arms"]["skills"]["value"] == round((121 + seconds) / 60, 2)
    assert told["seconds"] == {"clone": 1.0, "set-up": 120.0, "weights": seconds}
