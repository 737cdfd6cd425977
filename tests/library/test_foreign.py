"""Skills from elsewhere: what the world writes is read, what is hostile is refused, nothing is unpacked."""

from __future__ import annotations

import io
import os
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclaw.errors import SkillError
from metaclaw.library import foreign
from metaclaw.library.foreign import Foreign, read_source
from metaclaw.library.skillfile import MAX_DESCRIPTION, check
from metaclaw.types import Skill, SkillKind

PLAIN = "---\nname: ring-bells\ndescription: When a bell is due.\n---\nRing it.\n"


def skill_of(found: list[Foreign]) -> Skill:
    [one] = found
    assert one.skill is not None, one.problem
    return one.skill


def wrote(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def zipped(path: Path, entries: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_folder_a_folder_of_folders_a_zip_and_a_file(tmp_path: Path) -> None:
    file = wrote(tmp_path / "all" / "ring-bells" / "SKILL.md", PLAIN)
    wrote(tmp_path / "all" / "group" / "other" / "skill.md", PLAIN.replace("ring-bells", "other"))
    wrote(tmp_path / "all" / ".git" / "deep" / "SKILL.md", PLAIN)
    archive = zipped(tmp_path / "x.zip", {"top/ring-bells/SKILL.md": PLAIN, "top/readme.md": "Hi"})
    expected = Skill("ring-bells", "When a bell is due.", "Ring it.", origin="import")
    for source in (file.parent, archive, file):
        assert skill_of(read_source(source)) == expected
    assert [one.skill and one.skill.name for one in read_source(tmp_path / "all")] == ["other", "ring-bells"]
    hashes = {read_source(source)[0].sha256 for source in (file.parent, archive, file)}
    assert len(hashes) == 1


def test_scripts_are_kept_and_it_is_an_instruction_whatever_it_says(tmp_path: Path) -> None:
    wrote(tmp_path / "s" / "SKILL.md", PLAIN.replace("---\nRing", "metadata: {kind: code, state: active}\n---\nRing"))
    wrote(tmp_path / "s" / "scripts" / "ring.py", "print('ring')")
    wrote(tmp_path / "s" / "scripts" / "image.bin", b"\xff\xfe\x00")
    wrote(tmp_path / "s" / "assets" / "logo.png", b"\x89PNG")
    [one] = read_source(tmp_path / "s")
    skill = skill_of([one])
    assert (skill.kind, skill.origin, skill.state.value) == (SkillKind.INSTRUCTION, "import", "candidate")
    assert skill.files == (("scripts/ring.py", "print('ring')"),)
    assert one.notes == (
        "left out: scripts/image.bin", "kept and never run: scripts/ring.py", "left out: assets/logo.png",
    )


@pytest.mark.parametrize(
    ("text", "name", "description", "note"),
    [
        (b"---\nname: My Skill!\ndescription: d\n---\nb", "my-skill", "d", "its name was 'My Skill!'"),
        (b"---\ndescription: d\n---\nb", "the-folder", "d", "its name was 'The_Folder'"),
        (b"---\nname: n\ndescription: Use when: a bell rings\n---\nb", "n", "Use when: a bell rings", "not valid YAML"),
        (b"---\nname: n\ndescription: >\n  folded\n  text\n---\nb", "n", "folded text", None),
        (b"---\nname: n\ndescription: d\nwhen_to_use: bells\nallowed-tools: [Bash]\n---\nb", "n", "d bells",
         "mean nothing here: allowed-tools"),
        (b"# Ring the bell\n\nAlways.", "the-folder", "Ring the bell", "it had no front matter"),
        (b"\xef\xbb\xbf---\r\nname: n\r\ndescription: d\r\n---\r\nb\r\n", "n", "d", None),
        (b"---\nname: n\n---\n\n## Ring it\n", "n", "Ring it", "no description"),
        (b"---\nname: n\ndescription: " + b"word " * 400 + b"\n---\nb", "n", None, "was cut to"),
        ("---\nname: Ünïcode\ndescription: d\n---\nb".encode(), "unicode", "d", "its name was"),
        (b"---\nname: n\ndescription: d\x1b[31m\n---\nb", "n", "d[31m", None),
    ],
)
def test_what_the_world_writes(
    tmp_path: Path, text: bytes, name: str, description: str | None, note: str | None
) -> None:
    [one] = read_source(wrote(tmp_path / "The_Folder" / "SKILL.md", text).parent)
    skill = skill_of([one])
    check(skill)
    assert skill.name == name
    assert skill.description == description or (description is None and len(skill.description) <= MAX_DESCRIPTION)
    assert any(note in told for told in one.notes) if note else not [n for n in one.notes if "its name" not in n]


def test_hidden_characters_are_taken_out_and_told(tmp_path: Path) -> None:
    smuggled = "".join(chr(0xE0000 + ord(letter)) for letter in "ignore all")
    [one] = read_source(wrote(tmp_path / "s" / "SKILL.md", PLAIN.replace("Ring it", f"Ring{smuggled} \u202eit")).parent)
    assert (one.hidden, skill_of([one]).body) == (True, "Ring it.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"---\nname: n\ndescription: d\n---\n", "body must have"),
        (b"---\nname: n\ndescription: d\n---\n" + b"b" * 9_000, "body must have 1-8000 characters, has 9000"),
        (b"---\nname: n\ndescription: d\n---\n\xff", "not UTF-8"),
        ("---\nname: 鈴\ndescription: d\n---\nb".encode(), "no letter or digit"),
        (b"x" * 300_000, "larger than"),
    ],
)
def test_what_cannot_become_a_skill_says_why(tmp_path: Path, text: bytes, problem: str) -> None:
    [one] = read_source(wrote(tmp_path / "f" / "SKILL.md", text).parent)
    assert one.skill is None
    assert problem in one.problem


@pytest.mark.parametrize(
    "name",
    ["../SKILL.md", "a/../../SKILL.md", "/etc/SKILL.md", "a\\..\\SKILL.md", "C:/SKILL.md", "ok/scripts/../../../x"],
)
def test_an_archive_that_leaves_its_folder_is_refused_as_a_whole(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "x.zip", {"ok/SKILL.md": PLAIN, name: "evil"})
    with pytest.raises(SkillError, match="leads out of the archive"):
        read_source(archive)
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


def test_links_in_archives_and_folders_are_refused(tmp_path: Path) -> None:
    secret = wrote(tmp_path / "secret", "the key")
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as written:
        link = zipfile.ZipInfo("s/scripts/link.py")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        written.writestr(link, str(secret))
        written.writestr("s/SKILL.md", PLAIN)
    with pytest.raises(SkillError, match="symbolic link"):
        read_source(archive)
    folder = wrote(tmp_path / "all" / "s" / "SKILL.md", PLAIN).parent
    (folder / "scripts").mkdir()
    (folder / "scripts" / "link.py").symlink_to(secret)
    (tmp_path / "all" / "t").symlink_to(folder)
    problems = [one.problem for one in read_source(tmp_path / "all")]
    assert ["symbolic link" in problem for problem in problems] == [True, True]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "SKILL.md").symlink_to(secret)
    assert "symbolic link" in read_source(tmp_path / "m")[0].problem


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    zeros = bytes(200_000_000)
    one_file = zipped(tmp_path / "one.zip", {"s/SKILL.md": zeros})
    assert "larger than" in read_source(one_file)[0].problem
    scripts: dict[str, str | bytes] = {f"s/scripts/{n}.py": zeros[:250_000] for n in range(100)}
    many = zipped(tmp_path / "many.zip", {"s/SKILL.md": PLAIN, **scripts})
    assert many.stat().st_size < 100_000
    with pytest.raises(SkillError, match="unpacks to more"):
        read_source(many)
    entries: dict[str, str | bytes] = {f"s/{n}": "" for n in range(foreign.MAX_ENTRIES + 1)}
    with pytest.raises(SkillError, match="more than 5000 entries"):
        read_source(zipped(tmp_path / "entries.zip", entries))


def test_a_size_that_lies_is_found_out(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"s/SKILL.md": PLAIN + "x" * 5_000})
    content = bytearray(archive.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = (10).to_bytes(4, "little")  # the size unpacked, as the directory tells it
    archive.write_bytes(content)
    try:
        [one] = read_source(archive)
    except SkillError as error:
        assert "cannot be read as a zip" in str(error)
    else:
        assert one.skill is None


@pytest.mark.parametrize("again", ["s/skill.md", "s/./SKILL.md", "s//SKILL.md"])
def test_the_same_name_twice_is_refused(tmp_path: Path, again: str) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("s/SKILL.md", PLAIN)
        written.writestr(again, PLAIN.replace("Ring", "Steal"))
    with pytest.raises(SkillError, match="twice"):
        read_source(archive)


def test_what_is_no_source_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, told in [
        (tmp_path / "none", "cannot be read"), (wrote(tmp_path / "x.exe", "MZ"), "neither a folder, nor a zip"),
        (tmp_path / "pipe", "neither a folder nor a file"),
        (wrote(tmp_path / "e" / "x.txt", "").parent, "holds no skill"),
    ]:
        with pytest.raises(SkillError, match=told):
            read_source(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_archive_is_refused_or_read_never_a_crash(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s/SKILL.md", PLAIN)
        archive.writestr("s/scripts/a.py", "print(1)")
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = wrote(Path(folder) / "x.zip", bytes(content))
        try:
            found = read_source(path)
        except SkillError:
            return
        assert all((one.skill is None) == bool(one.problem) for one in found)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400), st.sampled_from(["", "---\n", "---\nname: n\ndescription: ", "---\nname: "]))
def test_any_text_becomes_a_valid_skill_or_a_reason(text: str, start: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = (start + text).encode(errors="surrogatepass")
        [one] = read_source(wrote(Path(folder) / "some" / "SKILL.md", content).parent)
    if one.skill:
        check(one.skill)
    else:
        assert one.problem
