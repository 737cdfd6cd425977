"""What the kernel's files say, written here as it writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaclaw.serving.memory import MIB, Memory


def machine(tmp_path: Path, *, available_mib: int, group: str = "") -> Memory:
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal:  99999999 kB\nMemFree: 1 kB\nMemAvailable:  {available_mib * 1024} kB\n")
    if group:
        (proc / "self" / "cgroup").write_text(group)
    return Memory(proc, tmp_path / "groups")


def limited(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def test_without_groups_the_machine_says_it(tmp_path: Path) -> None:
    assert machine(tmp_path, available_mib=700).available_bytes() == 700 * MIB


def test_another_system_says_nothing(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "none", tmp_path / "none")
    assert (memory.available_bytes(), memory.resident_bytes(1), memory.peak_bytes(1)) == (None, None, None)


def test_the_nearest_limit_counts_and_unused_pages_of_files_are_free(tmp_path: Path) -> None:
    memory = machine(tmp_path, available_mib=4000, group="0::/user/ours\n")
    limited(tmp_path / "groups" / "user" / "ours", memory__max="max", memory__current=str(900 * MIB))
    limited(
        tmp_path / "groups" / "user", memory__max=str(1000 * MIB), memory__current=str(800 * MIB),
        memory__stat=f"anon 5\ninactive_file {100 * MIB}",
    )
    assert memory.available_bytes() == 300 * MIB


def test_in_a_container_the_limit_stands_at_the_root(tmp_path: Path) -> None:
    memory = machine(tmp_path, available_mib=4000, group="0::/\n")
    limited(tmp_path / "groups", memory__max=str(500 * MIB), memory__current=str(200 * MIB))
    assert memory.available_bytes() == 300 * MIB


@pytest.mark.parametrize(("limit", "left"), [(600 * MIB, 150), (9223372036854771712, 4000)])
def test_groups_of_the_first_version(tmp_path: Path, limit: int, left: int) -> None:
    memory = machine(tmp_path, available_mib=4000, group="5:cpu:/x\n4:memory,hugetlb:/docker/a\n")
    limited(
        tmp_path / "groups" / "memory" / "docker" / "a", memory__limit_in_bytes=str(limit),
        memory__usage_in_bytes=str(500 * MIB), memory__stat=f"total_inactive_file {50 * MIB}",
    )
    assert memory.available_bytes() == left * MIB


def test_what_is_over_its_limit_has_nothing_left(tmp_path: Path) -> None:
    memory = machine(tmp_path, available_mib=4000, group="0::/\n")
    limited(tmp_path / "groups", memory__max="100", memory__current="200")
    assert memory.available_bytes() == 0


def test_what_a_process_holds_and_held(tmp_path: Path) -> None:
    memory = machine(tmp_path, available_mib=1)
    (tmp_path / "proc" / "42").mkdir()
    (tmp_path / "proc" / "42" / "status").write_text("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
    assert (memory.resident_bytes(42), memory.peak_bytes(42)) == (MIB, 2 * MIB)
