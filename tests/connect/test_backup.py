"""A connection on the disk: what it keeps, what it puts back, and what it refuses."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclaw.connect import disk
from metaclaw.connect.backup import Connection
from metaclaw.connect.base import Endpoint, Places
from metaclaw.connect.clients import CLIENTS
from metaclaw.connect.formats import json5_text, plain_text, toml_text, yaml_text
from metaclaw.connect.plan import Change, change_of, difference
from metaclaw.errors import ConnectError
from written_configs import DOCUMENTS, Pen

ENDPOINT = Endpoint("http://127.0.0.1:8790", "mc-token", "qwen")


class Desk:
    """A home folder, and one client's connection to work on."""

    def __init__(self, client: str, root: Path) -> None:
        self.client = CLIENTS[client]
        self.places = Places(root / "home", {})
        self.backup = root / "data" / "connect" / client
        self.connection = Connection(client, self.backup)

    @property
    def paths(self) -> list[Path]:
        return [file.path for file in self.client.files(self.places, ENDPOINT)]

    def put(self, content: bytes, mode: int = 0o644, number: int = 0) -> Path:
        path = self.paths[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        return path

    def changes(self, endpoint: Endpoint = ENDPOINT) -> list[Change]:
        files = self.client.files(self.places, endpoint)
        return [change_of(file, self.connection.original(file.path)) for file in files]

    def connect(self, endpoint: Endpoint = ENDPOINT) -> None:
        self.connection.write(self.changes(endpoint), endpoint)

    def everything(self) -> dict[str, tuple[bytes, int]]:
        """Every file below the home folder, with its mode."""
        found = self.places.home.rglob("*")
        return {str(path): (path.read_bytes(), path.stat().st_mode) for path in found if path.is_file()}


@pytest.fixture
def codex(tmp_path: Path) -> Desk:
    return Desk("codex", tmp_path)


def content_for(desk: Desk, number: int, data: st.DataObject) -> bytes:
    """A file as a user may have it: of any values, layout, line ends, with or without a mark at its beginning."""
    file, pen = desk.client.files(desk.places, ENDPOINT)[number], Pen(data)
    document: dict[str, Any] = data.draw(DOCUMENTS)
    texts = {
        json5_text.NAME: pen.json5, toml_text.NAME: pen.toml, yaml_text.NAME: pen.yaml,
        plain_text.NAME: lambda _: "gpt-x\n",
    }
    text = texts[file.format.NAME](document)
    if desk.client.NAME == "llm" and file.format is yaml_text:
        text = pen.yaml([document]) if document else ""
    raw = text.replace("\n", pen.one_of("\n", "\r\n")).encode()
    return b"\xef\xbb\xbf" + raw if pen.chance() else raw


@pytest.mark.parametrize("client", list(CLIENTS))
@settings(max_examples=25, deadline=None)  # each example writes to the disk, and waits for it
@given(data=st.data())
def test_whatever_was_there_is_put_back_byte_for_byte(client: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        desk = Desk(client, Path(root))
        for number in range(len(desk.paths)):
            if data.draw(st.booleans()):
                desk.put(content_for(desk, number, data), data.draw(st.sampled_from([0o600, 0o644, 0o640])), number)
        before = desk.everything()
        desk.connect()
        assert all(path.exists() for path in desk.paths)
        assert {path: mode for path, (_, mode) in desk.everything().items() if path in before} == {
            path: mode for path, (_, mode) in before.items()
        }
        desk.connect(Endpoint("http://127.0.0.1:9999", "mc-other", "llama"))  # a refresh keeps the first copies
        desk.connection.restore()
        assert desk.everything() == before
        assert not desk.backup.exists()


def test_a_new_file_is_for_its_owner_alone_and_goes_with_its_folder(codex: Desk) -> None:
    codex.connect()
    assert codex.paths[0].stat().st_mode & 0o777 == 0o600
    assert codex.connection.restore() == [(str(codex.paths[0]), "removed: it was not there before")]
    assert not codex.places.home.exists()


def test_a_folder_that_something_else_is_in_stays(codex: Desk) -> None:
    codex.connect()
    (codex.paths[0].parent / "history.jsonl").touch()
    codex.connection.restore()
    assert [path.name for path in codex.paths[0].parent.iterdir()] == ["history.jsonl"]


def test_the_copies_are_for_their_owner_alone(codex: Desk) -> None:
    codex.put(b"model = 'x'\n")
    codex.connect()
    assert {path.name: path.stat().st_mode & 0o777 for path in codex.backup.iterdir()} == {
        "manifest.json": 0o600, "0-config.toml": 0o600,
    }
    assert codex.backup.stat().st_mode & 0o777 == 0o700
    assert b"mc-token" not in (codex.backup / "manifest.json").read_bytes()


def test_a_symbolic_link_stays_one(codex: Desk, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "codex.toml"
    real.parent.mkdir()
    real.write_bytes(b"model = 'x'\n")
    codex.paths[0].parent.mkdir(parents=True)
    codex.paths[0].symlink_to(real)
    codex.connect()
    assert codex.paths[0].is_symlink()
    assert b"metaclaw" in real.read_bytes()
    codex.connection.restore()
    assert real.read_bytes() == b"model = 'x'\n"


def test_an_edited_file_is_refused_and_named(codex: Desk) -> None:
    path = codex.put(b"model = 'x' # mine\n")
    codex.connect()
    path.write_bytes(path.read_bytes() + b"[projects.'/x']\ntrust_level = 'trusted'\n")
    kept = codex.everything()
    for attempt in (codex.connection.restore, codex.connect):
        with pytest.raises(ConnectError, match=r"config\.toml was edited since"):
            attempt()
    assert codex.everything() == kept
    assert codex.connection.restore(force=True) == [(str(path), "our settings put back, other edits kept")]
    assert toml_text.read(path.read_text()) == {"model": "x", "projects": {"/x": {"trust_level": "trusted"}}}
    assert "# mine" in path.read_text()
    assert codex.connection.manifest() is None


def test_with_force_an_edited_file_that_was_not_there_keeps_the_edits_alone(codex: Desk) -> None:
    codex.connect()
    path = codex.paths[0]
    path.write_bytes(path.read_bytes() + b"\n[tui]\ntheme = 'dark'\n")
    codex.connection.restore(force=True)
    assert toml_text.read(path.read_text()) == {"tui": {"theme": "dark"}}


def test_with_force_what_holds_nothing_but_our_settings_goes(codex: Desk) -> None:
    codex.connect()
    codex.paths[0].write_bytes(codex.paths[0].read_bytes() + b"\n")
    codex.connection.restore(force=True)
    assert not codex.paths[0].exists()


def test_a_file_that_was_deleted_since_stays_deleted(codex: Desk) -> None:
    path = codex.put(b"model = 'x'\n")
    codex.connect()
    path.unlink()
    with pytest.raises(ConnectError, match="edited since"):
        codex.connection.restore()
    assert codex.connection.restore(force=True) == [(str(path), "was deleted since, and stays so")]
    assert not path.exists()


def test_force_cannot_read_everything(codex: Desk) -> None:
    path = codex.put(b"model = 'x'\n")
    codex.connect()
    path.write_bytes(b"model = \n")
    with pytest.raises(ConnectError, match=r"config\.toml: It is not valid TOML.*as it was before is in"):
        codex.connection.restore(force=True)
    assert path.read_bytes() == b"model = \n"
    assert codex.connection.manifest() is not None


def test_nothing_is_put_back_that_was_never_connected(codex: Desk) -> None:
    with pytest.raises(ConnectError, match="codex is not connected"):
        codex.connection.restore()


def test_a_damaged_copy_is_not_put_back(codex: Desk) -> None:
    codex.put(b"model = 'x'\n")
    codex.connect()
    (codex.backup / "0-config.toml").write_bytes(b"model = 'y'\n")
    with pytest.raises(ConnectError, match="damaged"):
        codex.connection.restore()


def test_a_damaged_manifest_is_an_error_of_ours(codex: Desk) -> None:
    codex.connect()
    (codex.backup / "manifest.json").write_bytes(b"[]")
    with pytest.raises(ConnectError, match="manifest"):
        codex.connection.manifest()


def test_a_client_that_has_moved_its_files_is_disconnected_first(codex: Desk, tmp_path: Path) -> None:
    codex.connect()
    codex.places = Places(codex.places.home, {"CODEX_HOME": str(tmp_path / "elsewhere")})
    with pytest.raises(ConnectError, match="through other files"):
        codex.connect()


def test_a_file_that_changes_between_showing_and_writing_is_left_alone(codex: Desk) -> None:
    path = codex.put(b"model = 'x'\n")
    changes = codex.changes()
    path.write_bytes(b"model = 'y'\n")
    with pytest.raises(ConnectError, match="edited just now"):
        codex.connection.write(changes, ENDPOINT)
    assert path.read_bytes() == b"model = 'y'\n"
    assert codex.connection.manifest() is None


@pytest.mark.parametrize("writes", range(5))
def test_a_kill_at_any_point_leaves_something_to_go_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    desk = Desk("llm", tmp_path)
    desk.put(b"- model_id: o\n  model_name: o\n")
    desk.put(b'{"openai": "k"}', number=1)
    before = desk.everything()
    done: list[Path] = []

    def dying(path: Path, content: bytes, mode: int) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        disk.put(path, content, mode)

    monkeypatch.setattr("metaclaw.connect.backup.put", dying)
    with pytest.raises(KeyboardInterrupt):
        desk.connect()
    monkeypatch.undo()
    if desk.connection.manifest():
        desk.connection.restore()
    assert desk.everything() == before


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(codex: Desk) -> None:
    codex.places.home.parent.mkdir(exist_ok=True)
    codex.places.home.touch()  # a file where a folder has to be
    with pytest.raises(ConnectError, match="cannot be"):
        codex.connect()


def test_what_is_no_text_is_refused_by_name(codex: Desk) -> None:
    path = codex.put(b"\xff\xfe")
    with pytest.raises(ConnectError, match=r"config\.toml: It is not UTF-8 text\. Nothing was changed\."):
        codex.changes()
    assert path.read_bytes() == b"\xff\xfe"


def test_the_difference_is_one_that_a_person_can_read(codex: Desk) -> None:
    codex.put(b"model = 'x' # mine\n")
    shown = difference(codex.changes())
    assert f"+++ {codex.paths[0]}\n" in shown
    assert "-model = 'x' # mine\n+model = \"qwen\" # mine\n" in shown
    codex.paths[0].unlink()
    assert "--- (no file)\n" in difference(codex.changes())
