"""What the doctor makes of what it sees, part by part."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from metaclaw import __version__
from metaclaw.cli.doctor import folder, gateway, machine, models
from metaclaw.config.request_path import GatewaySettings, ModelSettings
from metaclaw.config.settings import Settings
from metaclaw.running import Running
from metaclaw.serving.fetch import Silent
from metaclaw.store import Database

HERE = Running(7, "http://127.0.0.1:8790", "default", __version__, 1.0)
WELL = {"status": "ok", "version": __version__, "learner": "running", "lost": {"turn": 0}}
ROW = {"client": "codex", "here": True, "connected": True, "url": HERE.url, "edited": []}


@pytest.mark.parametrize(("mode", "level"), [(0o700, "ok"), (0o755, "note"), (0o770, "note")])
def test_who_may_look_into_the_data_folder(tmp_path: Path, mode: int, level: str) -> None:
    tmp_path.chmod(mode)
    [found] = folder.data_folder(tmp_path)
    assert found.level == level
    assert (found.mend == f"chmod 700 {tmp_path}") == (level == "note")


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [one.level for one in folder.data_folder(tmp_path / "file")] == ["broken"]


def test_the_token(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert [one.level for one in folder.token(settings)] == ["ok"]
    path = tmp_path / "token"
    for text, mode, level in (("mc-1", 0o600, "ok"), ("mc-1", 0o644, "broken"), ("", 0o600, "broken")):
        path.write_text(text)
        path.chmod(mode)
        [found] = folder.token(settings)
        assert (found.level, "mc-1" in found.text) == (level, False)
    assert [one.level for one in folder.token(Settings(gateway=GatewaySettings(token=SecretStr("a"))))] == ["ok"]


def test_new_data_folders_pass(tmp_path: Path) -> None:
    with Database(tmp_path / "home" / "metaclaw.db"):
        assert [one.level for one in folder.data_folder(tmp_path / "home")] == ["ok"]
        found, checkup = folder.store(tmp_path / "home" / "metaclaw.db")
    assert [one.level for one in found] == ["ok"]
    assert checkup


def test_a_store_of_a_newer_metaclaw_and_one_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "metaclaw.db"
    with Database(path) as database:
        database.write(lambda connection: connection.execute("INSERT INTO migrations VALUES (9999, 0)"))
    assert [one.mend for one in folder.store(path)[0]] == ["pip install --upgrade metaclaw"]
    path.write_bytes(b"no database at all, but long enough to look like a header of one")
    assert [one.level for one in folder.store(path)[0]] == ["broken"]


@pytest.mark.parametrize(("free", "level"), [(10**11, "ok"), (5 * 10**8, "note"), (10**7, "broken")])
def test_space(free: int, level: str) -> None:
    assert machine.disk(Path("/x"), free).level == level


@pytest.mark.parametrize(("seconds", "level"), [(0.0005, "ok"), (0.2, "note"), (6.0, "broken")])
def test_the_speed_of_the_disk(seconds: float, level: str) -> None:
    assert machine.disk_speed(seconds, timeout_seconds=5.0).level == level


def test_the_disk_is_timed(tmp_path: Path) -> None:
    assert machine.sync_seconds(tmp_path) > 0
    with pytest.raises(OSError, match="No such file"):
        machine.sync_seconds(tmp_path / "gone")


@pytest.mark.parametrize(("turn", "others", "level"), [
    (None, None, "ok"), (990.0, 1010.0, "ok"), (None, 2000.0, "note"), (None, 500.0, "note"), (1100.0, None, "note"),
])
def test_the_clock(turn: float | None, others: float | None, level: str) -> None:
    assert machine.clock(1000.0, turn, others).level == level


def test_memory_matters_to_the_embedded_model_only() -> None:
    provider = Settings.model_validate({"upstream": {"url": "http://a/v1"}})
    assert list(machine.memory(provider, 1)) == list(machine.memory(Settings(), None)) == []
    assert [one.level for one in machine.memory(Settings(), 10**9)] == ["note"]
    assert [one.level for one in machine.memory(Settings(), 10**10)] == ["ok"]


def test_weights_by_their_hash(tmp_path: Path) -> None:
    def look(name: str) -> list[str]:
        settings = Settings(data_dir=tmp_path, model=ModelSettings(name=name))
        return [one.level for one in models.weights(settings, Silent())]

    assert look("smollm2-135m") == ["note"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"other bytes")
    assert look("smollm2-135m") == ["broken"]
    (tmp_path / "mine.gguf").write_bytes(b"mine")
    assert look(str(tmp_path / "mine.gguf")) == ["ok"]
    assert look("nobody-knows-me") == ["broken"]
    assert look("org/repo/file.gguf") == ["note"]


def test_a_port_that_somebody_else_has() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(gateway=GatewaySettings(port=taken.getsockname()[1]))
        assert gateway.port(settings, []).level == "broken"
        assert gateway.port(settings, [HERE]).level == "ok"
    assert gateway.port(settings, []).level == "ok"


def test_an_open_address() -> None:
    assert [one.level for one in gateway.exposure(Settings(gateway=GatewaySettings(host="0.0.0.0")))] == ["note"]  # noqa: S104
    assert list(gateway.exposure(Settings())) == []


@pytest.mark.parametrize(("status", "told", "levels"), [
    (200, WELL, ["ok"]),
    (None, {}, ["broken"]),
    (401, {}, ["broken"]),
    (200, WELL | {"status": "loading"}, ["note", "ok"]),
    (200, WELL | {"version": "0.0.1"}, ["note", "ok"]),
    (200, WELL | {"learner": "restarting"}, ["broken"]),
    (200, WELL | {"learner": "off"}, ["note"]),
    (200, WELL | {"lost": {"turn: StoreError": 2}}, ["ok", "note"]),
    (200, WELL | {"broken_files": {"a": "no name"}}, ["ok", "note"]),
    (200, WELL | {"upstreams": [{"name": "a", "cooldown_seconds_left": 9.0, "last_failure": "502"}]}, ["ok", "note"]),
])
def test_what_a_gateway_says(status: int | None, told: dict[str, object], levels: list[str]) -> None:
    assert [one.level for one in gateway.answers(HERE, status, told, "refused")] == levels


@pytest.mark.parametrize(("change", "runs", "level"), [
    ({}, True, "ok"), ({}, False, "note"), ({"edited": ["a"]}, True, "note"), ({"url": "http://b"}, True, "broken"),
    ({"connected": False}, True, "ok"),
])
def test_connected_clients(change: dict[str, object], runs: bool, level: str) -> None:
    assert [one.level for one in gateway.clients([ROW | change], HERE.url, runs=runs)] == [level]
