"""Everything learned, in one file and back: skills live, the adapter serving, and what is not learned left alone."""

from __future__ import annotations

import shutil
import tomllib
import zipfile
from pathlib import Path

import pytest

from learned_folder import CODE, home_of, learned, state_of
from metaclaw.errors import TrainingError
from metaclaw.library.catalog import Catalog
from metaclaw.library.edits import Edits
from metaclaw.store import Database
from metaclaw.training.jobs import Jobs
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter, Skill, SkillState
from running_gateway import QUESTION, SKILL, opened, serving, settings_for
from shell import Shell
from support import keep, make_turn
from upstream_server import chat_body

KEY = "sk-" + "0a1b2c3d" * 5


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The data folder is the default one, which is where the settings file is, too."""
    made = Shell(tmp_path, monkeypatch, capsys)
    monkeypatch.delenv("METACLAW_DATA_DIR")
    made.data = tmp_path / ".metaclaw"
    return made


def checked(folder: Path, name: str) -> Adapter:
    home = home_of(folder)
    with Database(home.store) as database:
        return Registry(database, "default", home.adapters).checked(name, "tiny")


async def test_a_round_trip_to_another_folder_while_the_gateway_runs(tmp_path: Path, shell: Shell) -> None:
    """The gateway goes on with its turns; what is restored elsewhere injects the same skill."""
    async with serving(tmp_path / "first") as door:
        adapter = learned(door.home)
        reply, _ = await door.ask(chat_body(QUESTION))
        assert reply.headers["x-metaclaw-skills"] == f"{SKILL.name}@1"
        made = shell.json("data", "backup", str(tmp_path / "all.zip"), "--data-dir", str(door.home))
        assert (made["turns"], made["skills"], made["adapters"]) == (1, 2, 1)
        assert (await door.ask(chat_body(QUESTION)))[0].status == 200
        assert (await door.health())["lost"] == {}
    before = state_of(door.home)
    shutil.rmtree(door.home)
    there = tmp_path / "elsewhere" / "deeper"
    done = shell.json("data", "restore", str(tmp_path / "all.zip"), "--data-dir", str(there), "--yes")
    assert (done["home"], done["aside"], done["signed_by"]) == (str(there), None, made["signed_by"])
    assert state_of(there) == {**before, "turns": before["turns"][:1]}
    assert checked(there, adapter.name).folder == str(home_of(there).adapters / adapter.name)
    settings = settings_for(there, door.upstream.url).model_copy(update={"data_dir": there})
    async with opened(settings) as gateway:
        assert gateway.status()["skills"] == [
            {"name": name, "version": 1, "state": "active"} for name in sorted((SKILL.name, CODE.name))
        ]


def test_nothing_counts_as_a_hand_edit_after_it(tmp_path: Path, shell: Shell) -> None:
    learned(shell.data)
    (home_of(shell.data).skills / CODE.name / "scripts" / "linked.py").symlink_to("/etc/passwd")  # cannot be read
    shell.json("data", "backup", str(tmp_path / "all.zip"))
    there = tmp_path / "there"
    shell.json("data", "restore", str(tmp_path / "all.zip"), "--data-dir", str(there), "--yes")
    with Database(home_of(there).store) as database:
        catalog = Catalog(database, "default", home_of(there).skills)
        assert Edits(catalog, lambda _: [], lambda _: False).sweep() == []
        assert [skill.name for skill in catalog.live()] == [CODE.name, SKILL.name]


def test_replace_keeps_the_old_state_aside_and_leaves_what_is_not_learned(tmp_path: Path, shell: Shell) -> None:
    adapter = learned(shell.data)
    made = shell.json("data", "backup", str(tmp_path / "all.zip"))
    before = state_of(shell.data)
    with Database(home_of(shell.data).store) as database:
        Catalog(database, "default", home_of(shell.data).skills).publish(
            Skill("newer", "Something newer", "Newer."), SkillState.ACTIVE, "test", []
        )
    changed = state_of(shell.data)
    key = (shell.data / "adapters" / "signing.key").read_bytes()
    for name, text in (("token", "mc-0123456789abcdef"), ("config.toml", '[log]\nlevel = "info"\n')):
        (shell.data / name).write_text(text, encoding="utf-8")
    (shell.data / "models").mkdir()
    (shell.data / "models" / "weights.gguf").write_bytes(b"GGUF")
    refused = shell.refused("data", "restore", str(tmp_path / "all.zip"), "--yes")
    assert "holds something learned already. Say --replace" in refused
    assert state_of(shell.data) == changed
    code, out, err = shell("data", "restore", str(tmp_path / "all.zip"), "--yes", "--replace")
    assert code == 0, err
    assert f"Signed by {made['signed_by']}, which is known here." in out
    assert state_of(shell.data) == before
    assert checked(shell.data, adapter.name)
    assert (shell.data / "adapters" / "signing.key").read_bytes() == key
    assert (shell.data / "token").read_text("utf-8") == "mc-0123456789abcdef"
    assert (shell.data / "models" / "weights.gguf").read_bytes() == b"GGUF"
    assert (shell.data / "config.toml").read_text("utf-8") == '[log]\nlevel = "info"\n'
    [aside] = tmp_path.glob(".metaclaw.before-restore-*")
    assert state_of(aside)["skills"] == changed["skills"]
    [undo] = [line for line in out.splitlines() if line.startswith("To undo: metaclaw stop; mv ")]
    for step in undo.partition("; ")[2].split(" && "):
        _, old, new = (part.strip("'") for part in step.split())
        Path(old).rename(new)
    assert state_of(shell.data) == changed
    assert list(tmp_path.glob(".*restoring*")) == []


def test_a_new_machine_knows_its_adapters_by_the_public_key_and_signs_with_its_own(
    tmp_path: Path, shell: Shell
) -> None:
    adapter = learned(shell.data)
    shell.json("data", "backup", str(tmp_path / "all.zip"))
    with zipfile.ZipFile(tmp_path / "all.zip") as inside:
        assert "keys/signing.key" not in inside.namelist()
    there = tmp_path / "there"
    code, out, _ = shell("data", "restore", str(tmp_path / "all.zip"), "--data-dir", str(there), "--yes")
    assert code == 0
    assert "which is not known here" in out
    assert checked(there, adapter.name)
    old, new = ((folder / "adapters" / "signing.key").read_bytes() for folder in (shell.data, there))
    assert old != new
    shell.json("data", "backup", str(tmp_path / "again.zip"), "--data-dir", str(there))
    third = tmp_path / "third"
    shell.json("data", "restore", str(tmp_path / "again.zip"), "--data-dir", str(third), "--yes")
    assert checked(third, adapter.name), "the first key's signature, known through the second backup"


def test_without_the_public_key_they_would_be_strangers(tmp_path: Path, shell: Shell) -> None:
    adapter = learned(shell.data)
    shell.json("data", "backup", str(tmp_path / "all.zip"))
    there = tmp_path / "there"
    shell.json("data", "restore", str(tmp_path / "all.zip"), "--data-dir", str(there), "--yes")
    shutil.rmtree(there / "adapters" / ".trusted")
    with pytest.raises(TrainingError, match="was not signed by this MetaClaw"):
        checked(there, adapter.name)


def test_the_private_key_goes_along_only_when_asked_for(tmp_path: Path, shell: Shell) -> None:
    learned(shell.data)
    code, out, _ = shell("data", "backup", str(tmp_path / "all.zip"), "--with-key")
    assert code == 0
    assert "It holds the private signing key" in out
    there = tmp_path / "there"
    shell.json("data", "restore", str(tmp_path / "all.zip"), "--data-dir", str(there), "--yes")
    keys = [folder / "adapters" / "signing.key" for folder in (shell.data, there)]
    assert keys[0].read_bytes() == keys[1].read_bytes()
    assert keys[1].stat().st_mode & 0o777 == 0o600


def test_training_that_was_under_way_has_failed_and_the_next_begins(tmp_path: Path, shell: Shell) -> None:
    learned(shell.data)
    shell.json("data", "backup", str(tmp_path / "all.zip"))
    there = tmp_path / "there"
    shell.json("data", "restore", str(tmp_path / "all.zip"), "--data-dir", str(there), "--yes")
    with Database(home_of(there).store) as database:
        jobs = Jobs(database, "default", home_of(there).jobs)
        left = jobs.latest()
        assert left
        assert (left.state, left.folder.parent) == ("failed", home_of(there).jobs)
        assert "restored from a backup" in left.progress["error"]
        taken = jobs.take()
        assert taken
        assert taken.id != left.id


def test_settings_come_without_secrets_and_places(tmp_path: Path, shell: Shell) -> None:
    learned(shell.data)
    (shell.data / "config.toml").write_text(
        f'data_dir = "{shell.data}"\n# api_key = "{KEY}"\n[log]\nlevel = "info"\n[judge]\nenabled = true\n'
        f'api_key = "{KEY}"\n[[upstreams]]\nname = "a"\nurl = "http://127.0.0.1:1/v1"\napi_key = "{KEY}"\n',
        encoding="utf-8",
    )
    made = shell.json("data", "backup", str(tmp_path / "all.zip"))
    assert made["left_out"] == ["data_dir", "judge.api_key", "upstreams[].api_key"]
    with zipfile.ZipFile(tmp_path / "all.zip") as inside:
        assert not [name for name in inside.namelist() if KEY.encode() in inside.read(name)]
    shutil.rmtree(shell.data)
    done = shell.json("data", "restore", str(tmp_path / "all.zip"), "--yes")
    assert done["config"] == str(shell.data / "config.toml")
    assert tomllib.loads((shell.data / "config.toml").read_text("utf-8")) == {
        "log": {"level": "info"}, "judge": {"enabled": True},
        "upstreams": [{"name": "a", "url": "http://127.0.0.1:1/v1"}],
    }
    assert shell("config", "check", done["config"])[0] == 0
    (shell.data / "config.toml").write_text('[log]\nlevel = "debug"\n', encoding="utf-8")
    done = shell.json("data", "restore", str(tmp_path / "all.zip"), "--yes", "--replace")
    assert done["config"] == str(shell.data / "config.from-backup.toml")
    assert (shell.data / "config.toml").read_text("utf-8") == '[log]\nlevel = "debug"\n'


def test_every_namespace_comes_along_also_with_the_same_names(tmp_path: Path, shell: Shell) -> None:
    adapter = learned(shell.data)
    with Database(home_of(shell.data).store) as database:
        for name in ("other", "bare"):
            root = shell.data / "adapters" / name
            assert Registry(database, name, root).register(shell.data / "out", "tiny", None, {}).name == adapter.name
            Catalog(database, name, shell.data / "skills" / name).publish(SKILL, SkillState.ACTIVE, "test", [])
    shutil.rmtree(shell.data / "adapters" / "bare")
    made = shell.json("data", "backup", str(tmp_path / "all.zip"))
    assert (made["adapters"], made["skills"], made["missing"]) == (2, 4, [adapter.name])
    there = tmp_path / "there"
    done = shell.json("data", "restore", str(tmp_path / "all.zip"), "--data-dir", str(there), "--yes")
    assert done["namespaces"] == ["bare", "default", "other"]
    with Database(home_of(there).store) as database:
        assert Registry(database, "other", there / "adapters" / "other").checked(adapter.name, "tiny")
        assert Catalog(database, "other", there / "skills" / "other").snapshot()[1][0].name == SKILL.name
    assert (there / "skills" / "other" / SKILL.name / "SKILL.md").is_file()


async def test_what_was_forgotten_is_in_no_backup_made_later(tmp_path: Path, shell: Shell) -> None:
    canary = "zebra-quartz-9271"
    with Database(home_of(shell.data).store) as database:
        await keep(database, make_turn(query=canary, session="s"), make_turn())
    assert shell("data", "forget", "--session", "s", "--yes")[0] == 0
    shell.json("data", "backup", str(tmp_path / "all.zip"))
    with zipfile.ZipFile(tmp_path / "all.zip") as inside:
        assert not [name for name in inside.namelist() if canary.encode() in inside.read(name)]


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path, shell: Shell) -> None:
    assert "There is nothing to back up" in shell.refused("data", "backup", str(tmp_path / "all.zip"))
    learned(shell.data)
    (tmp_path / "all.zip").write_text("something else", encoding="utf-8")
    assert "say --force" in shell.refused("data", "backup", str(tmp_path / "all.zip"))
    assert (tmp_path / "all.zip").read_text("utf-8") == "something else"
    assert shell.json("data", "backup", str(tmp_path / "all.zip"), "--force")["skills"] == 2
    assert (tmp_path / "all.zip").stat().st_mode & 0o777 == 0o600
    assert "There is no folder" in shell.refused("data", "backup", str(tmp_path / "no" / "all.zip"))
    assert list(tmp_path.glob(".*.partial")) == []
