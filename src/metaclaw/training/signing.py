"""Our signature on what we made: an ed25519 key of this installation, made when it is first needed.

The key is a file that its owner alone may read. It says "this MetaClaw made these bytes", and nothing to anybody else:
it leaves the data folder only in a backup that was asked to hold it. Beside it, in `.trusted`, lie the public keys of
the installations whose backups were restored here: what they signed counts as ours. `cryptography` comes with the
extras `local` and `train`, without which there is no adapter; so it is imported when the first one is signed or
checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from metaclaw.errors import TrainingError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


TRUSTED = ".trusted"


class Signer:
    """Signs with the key in `key_file`; verifies with it, and with the public keys that are trusted beside it."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._key: Ed25519PrivateKey | None = None

    def sign(self, content: bytes) -> str:
        return self._own_key().sign(content).hex()

    def verifies(self, content: bytes, signature: str) -> bool:
        """Whether we signed exactly this, or an installation that is trusted here did."""
        return any(signed_by(key, content, signature) for key in (self.public_key(), *self.trusted()))

    def public_key(self) -> str:
        """As hexadecimal text."""
        return self._own_key().public_key().public_bytes_raw().hex()

    def trusted(self) -> list[str]:
        """The public keys of others that count as ours."""
        folder = self._key_file.parent / TRUSTED
        return [path.read_text(encoding="ascii").strip() for path in sorted(folder.glob("*.pub"))]

    def require(self) -> None:
        """Raise `TrainingError` where nothing can be signed here."""
        self._own_key()

    def _own_key(self) -> Ed25519PrivateKey:
        if self._key is None:
            _require_cryptography()
            if not self._key_file.exists():
                _make(self._key_file)
            self._key = _read(self._key_file)
        return self._key


def signed_by(public_key: str, content: bytes, signature: str) -> bool:
    """Whether the holder of that key signed exactly this. Raises `TrainingError` where that cannot be told here."""
    _require_cryptography()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):  # a ValueError: it is no hexadecimal text, or no key
        return False
    return True


def trust(key_file: Path, public_key: str) -> None:
    """From now on what the holder of that key signed counts as ours."""
    folder = key_file.parent / TRUSTED
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / f"{fingerprint(public_key)}.pub").write_text(public_key, encoding="ascii")


def fingerprint(public_key: str) -> str:
    """Of 128 bits: short enough to be compared, and too long to be met by trying."""
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:32]


def _require_cryptography() -> None:
    if find_spec("cryptography") is None:
        raise TrainingError("Signatures need the package cryptography: pip install 'metaclaw[local]'.")


def _make(path: Path) -> None:
    """A new key, whole or not at all. Where another process was quicker, its key stays."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(Ed25519PrivateKey.generate().private_bytes(*form))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(partial)
        partial.unlink()
    except OSError as error:
        raise TrainingError(f"The signing key {path} cannot be made: {error.strerror}.") from error


def _read(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        if path.stat().st_mode & 0o077:
            raise TrainingError(f"Others may read the signing key {path}. Take that away: chmod 600 '{path}'.")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise TrainingError(f"The signing key {path} cannot be read ({error}).") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TrainingError(f"The signing key {path} is none of ed25519.")
    return key
