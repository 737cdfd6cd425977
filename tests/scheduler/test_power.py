"""Battery and load, from files as the kernel writes them and texts as `pmset` prints them."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from metaclaw.scheduler.power import Load, battery_of_pmset, battery_of_windows, on_battery, processor_times

MAC = "Now drawing from '{} Power'\n -InternalBattery-0 (id=1)\t81%; discharging; 5:01 remaining present: true\n"


def supply(folder: Path, name: str, **facts: str) -> None:
    (folder / name).mkdir()
    for fact, value in facts.items():
        (folder / name / fact).write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("status", "online", "expected"),
    [("Discharging", "0", True), ("Charging", "1", False), ("Full", "1", False), ("Discharging", "1", False),
     ("Not charging", "0", False)],
)
def test_a_laptop_is_on_battery_when_it_discharges_off_the_mains(
    tmp_path: Path, status: str, online: str, expected: bool
) -> None:
    supply(tmp_path, "BAT0", type="Battery", status=status)
    supply(tmp_path, "AC", type="Mains", online=online)
    assert on_battery("linux", tmp_path) is expected


def test_a_mouse_is_no_battery_of_the_machine(tmp_path: Path) -> None:
    assert on_battery("linux", tmp_path / "none") is None
    supply(tmp_path, "mouse", type="Battery", scope="Device", status="Discharging")
    assert on_battery("linux", tmp_path) is None
    assert on_battery("plan9", tmp_path) is None


def test_macos_says_where_it_draws_from() -> None:
    assert battery_of_pmset(MAC.format("Battery")) is True
    assert battery_of_pmset(MAC.format("AC")) is False
    assert battery_of_pmset("Now drawing from 'AC Power'\n") is None
    assert battery_of_pmset("") is None


class FakeWindows:
    def __init__(self, line: int, flag: int, known: bool = True) -> None:
        self._facts, self._known = (line, flag), known
        self.windll = self.kernel32 = self

    def GetSystemPowerStatus(self, status: Any) -> bool:  # noqa: N802 - the system's name
        found = ctypes.cast(status, ctypes.POINTER(ctypes.c_ubyte))
        found[0], found[1] = self._facts
        return self._known


@pytest.mark.parametrize(
    ("line", "flag", "expected"), [(0, 1, True), (1, 8, False), (1, 128, None), (255, 0, None), (0, 255, None)]
)
def test_windows_tells_line_and_battery(line: int, flag: int, expected: bool | None) -> None:
    assert battery_of_windows(FakeWindows(line, flag)) is expected
    assert battery_of_windows(FakeWindows(line, flag, known=False)) is None


def test_what_runs_at_low_priority_is_no_load_of_others(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    load = Load(stat)
    assert load.share(0.0) is None  # no such file
    stat.write_text("cpu  100 1000 50 5000 10 5 5 40 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    assert load.share(1.0) is None  # nothing to compare with
    stat.write_text("cpu  120 1600 60 5300 10 5 5 50 0 0\n")  # 40 of 940 ticks ours, 600 the trainer's
    assert load.share(6.0) == pytest.approx(40 / 940)
    assert load.share(6.0) == pytest.approx(40 / 940)


def test_load_is_that_of_the_last_seconds(tmp_path: Path) -> None:
    stat, load = tmp_path / "stat", Load(tmp_path / "stat")
    for second, (busy, rest) in enumerate([(0, 0), (1000, 0), (1000, 500), (1000, 1000), (1000, 1500), (1000, 2000)]):
        stat.write_text(f"cpu  {busy} 0 0 {rest} 0 0 0 0 0 0\n")
        share = load.share(10.0 * second)
    assert share == 0.0


@pytest.mark.parametrize("text", ["", "intr 1 2 3", "cpu 1 2 3", "cpufreq 1 2 3 4 5 6 7 8 9"])
def test_other_texts_tell_nothing(text: str) -> None:
    assert processor_times(text) is None
