"""The report on results: figures with their units, the page, and that README and page agree with what is committed."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from metaclaw.bench.report import wording
from metaclaw.bench.report.committed import read, read_all
from metaclaw.bench.report.page import PICTURES, page, publish
from metaclaw.bench.report.pictures import by_day, drawable
from metaclaw.bench.results import Arm, Check, share, write
from metaclaw.cli.main import app
from metaclaw.errors import MetaClawError

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "bench" / "results").is_dir(), reason="the committed results are not here")


def written(folder: Path, name: str = "workdays", **extra: Any) -> Path:
    arms = {"frozen": share("questions right", [False] * 9 + [True]), "skills": share("questions right", [True] * 10)}
    checks = {"gain": Check(9.0, "at least 0.32", True), "p50_ms": Check(0.7, "at most 0.6", False)}
    return write(folder, name, "metaclaw bench x <y>", "a model", [1, 2], arms, checks, extra)


def test_a_written_result_is_read_back(tmp_path: Path) -> None:
    result = read(written(tmp_path, more=3))

    assert (result.name, result.seeds, result.held, result.rest) == ("workdays", (1, 2), 1, {"more": 3})
    assert result.arms["frozen"] == Arm("questions right", 0.1, (0.0179, 0.4042), 10)


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "not a result"), ("[]", "lacks bench"), ('{"bench": "x"}', "lacks command"), ("3", "not a result")],
)
def test_a_file_that_is_no_result_is_named_with_what_it_lacks(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(MetaClawError, match=rf"odd\.json.*{told}"):
        read(path)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MetaClawError, match="metaclaw bench --help"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("share of tasks right", 0.1667, "16.7%"), ("precision", 1.0, "100.0%"), ("questions right", 0.0, "0.0%"),
        ("requests a second", 0.5, "0.5"), ("median milliseconds", 0.35, "0.35"), ("times", 60273.9, "60,274"),
    ],
)  # fmt: skip
def test_shares_are_per_cent_and_all_else_the_number_it_is(metric: str, value: float, shown: str) -> None:
    assert wording.arm_value(Arm(metric, value, (0, 1), 3)) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "not measured"), (3.0, "3"), (0.03412, "0.03412"), (9.0756, "9.076"), (-1234.5, "-1,234")],
)
def test_numbers_keep_as_many_places_as_say_something(value: float | None, shown: str) -> None:
    assert wording.number(value) == shown


class Text(HTMLParser):
    """What a page shows, and where its links and pictures lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.leads: list[str] = []
        self.shown: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "id" and value:
                self.ids.add(value)
            if key in ("href", "src") and value:
                self.leads.append(value)

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def test_the_page_holds_each_figure_with_its_command_and_commit_and_says_what_falls_short(tmp_path: Path) -> None:
    result = read(written(tmp_path))
    html = page([result])
    shown = Text(html).shown

    assert {"metaclaw bench x <y>", result.commit[:10], "0.7", "at most 0.6", "10.0%", "1.8% to 40.4%"} <= set(shown)
    assert "1 of the 2 figures that were asked for hold. What falls short is in the same tables." in shown
    assert '<td class="no">no</td>' in html
    assert "<y>" not in html


def test_curves_and_bars_are_drawn_beside_the_page(tmp_path: Path) -> None:
    days = {arm: {"by_day": {"10": 0.5, "2": 0.25}} for arm in ("frozen", "skills")}
    written(tmp_path, details=days)
    written(tmp_path, "demo")
    written(tmp_path, "mixed")
    mixed = json.loads((tmp_path / "mixed.json").read_text())
    mixed["arms"]["skills"]["metric"] = "requests a second"
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))

    path = publish(read_all(tmp_path), tmp_path / "docs")

    assert by_day(read(tmp_path / "workdays.json"))["skills"] == {"by_day": {10: 0.5, 2: 0.25}}
    drawn = {file.name for file in (path.parent / PICTURES).iterdir()}
    assert drawn == {"workdays.png", "demo.png"}
    assert {f"{PICTURES}/workdays.png", f"{PICTURES}/demo.png"} < set(Text(path.read_text()).leads)


def test_the_command_prints_what_falls_short_and_exits_with_1(tmp_path: Path) -> None:
    written(tmp_path)
    done = CliRunner().invoke(app, ["bench", "report", "--results", str(tmp_path), "--check"])
    as_json = CliRunner().invoke(app, ["bench", "report", "--results", str(tmp_path), "--json"])

    assert (done.exit_code, done.stdout) == (1, "workdays: p50_ms = 0.7 (bar: at most 0.6): falls short\n")
    assert [row["name"] for row in json.loads(as_json.stdout)] == ["gain", "p50_ms"]


def test_readme_and_page_agree_with_the_committed_results() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_figure_changed_by_hand_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    reference = importlib.import_module("reference")

    text, results = (ROOT / "README.md").read_text(encoding="utf-8"), reference.committed()
    assert reference.readme(text, results) == text
    for block in (reference.DEMO, reference.MEASURED):
        quoted = block.search(text)
        assert quoted
        figure = re.search(r"---\|\n\D*(?=\d)", quoted[0])
        assert figure
        place = quoted.start() + figure.end()
        changed = text[:place] + "7" + text[place:]
        assert reference.readme(changed, results) == text


def test_every_picture_and_link_of_the_committed_page_leads_somewhere() -> None:
    told = Text((ROOT / "docs" / "results.html").read_text(encoding="utf-8"))
    for lead in told.leads:
        assert lead[1:] in told.ids if lead.startswith("#") else (ROOT / "docs" / lead).is_file(), lead
    drawn = [result.name for result in read_all(ROOT / "bench" / "results") if drawable(result)]
    assert [name for name in drawn if not (ROOT / "docs" / PICTURES / f"{name}.png").is_file()] == []
