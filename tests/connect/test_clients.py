"""Each client's files and settings, and where its own environment variables move them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from metaclaw.connect.base import Endpoint, Places
from metaclaw.connect.clients import CLIENTS, client_named
from metaclaw.connect.edit import edited
from metaclaw.connect.variables import as_shell, variables
from metaclaw.errors import ConnectError

ENDPOINT = Endpoint("http://127.0.0.1:8790", "mc-token", "qwen")
HOME = Path("/home/u")
BASE = "http://127.0.0.1:8790/v1"


def written(
    client: str, endpoint: Endpoint = ENDPOINT, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """The values of each file that connecting would make, by path."""
    files = CLIENTS[client].files(Places(HOME, environment or {}), endpoint)
    return {str(file.path): file.format.read(edited(file, None)) for file in files}


def test_claude_code() -> None:
    [(path, settings)] = written("claude-code", Endpoint(ENDPOINT.url, "mc-token")).items()
    assert path == "/home/u/.claude/settings.json"
    assert settings == {"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8790", "ANTHROPIC_AUTH_TOKEN": "mc-token"}}
    [named] = written("claude-code").values()
    assert named["env"]["ANTHROPIC_MODEL"] == "qwen"


def test_codex() -> None:
    [(path, config)] = written("codex").items()
    assert path == "/home/u/.codex/config.toml"
    assert (config["model"], config["model_provider"]) == ("qwen", "metaclaw")
    provider = config["model_providers"]["metaclaw"]
    assert (provider["base_url"], provider["wire_api"]) == (BASE, "responses")
    assert provider["experimental_bearer_token"] == "mc-token"


def test_opencode() -> None:
    [(path, config)] = written("opencode").items()
    assert path == "/home/u/.config/opencode/opencode.json"
    assert config["model"] == config["small_model"] == "metaclaw/qwen"
    assert config["provider"]["metaclaw"]["options"] == {"baseURL": BASE, "apiKey": "mc-token"}
    assert list(config["provider"]["metaclaw"]["models"]) == ["qwen"]


def test_opencode_with_comments_is_the_one_that_counts(tmp_path: Path) -> None:
    commented = tmp_path / "opencode" / "opencode.jsonc"
    commented.parent.mkdir()
    commented.touch()
    assert list(written("opencode", environment={"XDG_CONFIG_HOME": str(tmp_path)})) == [str(commented)]


def test_openclaw() -> None:
    [(path, config)] = written("openclaw").items()
    assert path == "/home/u/.openclaw/openclaw.json"
    assert config["agents"]["defaults"]["model"]["primary"] == "metaclaw/qwen"
    provider = config["models"]["providers"]["metaclaw"]
    assert (provider["baseUrl"], provider["apiKey"], provider["api"]) == (BASE, "mc-token", "openai-completions")
    assert [model["id"] for model in provider["models"]] == ["qwen"]


def test_hermes() -> None:
    [(path, config)] = written("hermes").items()
    assert path == "/home/u/.hermes/config.yaml"
    assert config["model"] == {
        "default": "qwen", "provider": "custom", "base_url": BASE, "api_key": "mc-token",
        "api_mode": "chat_completions",
    }


def test_aider() -> None:
    assert written("aider") == {
        "/home/u/.aider.conf.yml": {"model": "openai/qwen", "openai-api-base": BASE, "openai-api-key": "mc-token"}
    }


def test_pi() -> None:
    models, settings = written("pi").items()
    assert (models[0], settings[0]) == ("/home/u/.pi/agent/models.json", "/home/u/.pi/agent/settings.json")
    assert models[1]["providers"]["metaclaw"]["baseUrl"] == BASE
    assert settings[1] == {"defaultProvider": "metaclaw", "defaultModel": "qwen"}


def test_llm() -> None:
    models, keys, default = written("llm", environment={"LLM_USER_PATH": "/llm"}).items()
    assert (models[0], keys[0]) == ("/llm/extra-openai-models.yaml", "/llm/keys.json")
    assert models[1][0]["model_name"] == "qwen"
    assert models[1][0]["api_base"] == BASE
    assert keys[1] == {models[1][0]["api_key_name"]: "mc-token"}
    assert default == ("/llm/default_model.txt", {"value": models[1][0]["model_id"]})


@pytest.mark.parametrize(
    ("client", "environment", "path"),
    [
        ("claude-code", {"CLAUDE_CONFIG_DIR": "/c"}, "/c/settings.json"),
        ("claude-code", {"CLAUDE_CONFIG_DIR": "~/c"}, "/home/u/c/settings.json"),
        ("codex", {"CODEX_HOME": "/c"}, "/c/config.toml"),
        ("codex", {"CODEX_HOME": " "}, "/home/u/.codex/config.toml"),
        ("opencode", {"XDG_CONFIG_HOME": "/x"}, "/x/opencode/opencode.json"),
        ("opencode", {"OPENCODE_CONFIG": "/o.json"}, "/o.json"),
        ("openclaw", {"OPENCLAW_STATE_DIR": "/s"}, "/s/openclaw.json"),
        ("openclaw", {"OPENCLAW_HOME": "/h"}, "/h/.openclaw/openclaw.json"),
        ("openclaw", {"OPENCLAW_PROFILE": "dev"}, "/home/u/.openclaw-dev/openclaw.json"),
        ("openclaw", {"OPENCLAW_CONFIG_PATH": "/c.json", "OPENCLAW_STATE_DIR": "/s"}, "/c.json"),
        ("hermes", {"HERMES_HOME": "/h"}, "/h/config.yaml"),
        ("pi", {"PI_CODING_AGENT_DIR": "/p"}, "/p/models.json"),
    ],
)
def test_files_are_where_the_client_looks(client: str, environment: dict[str, str], path: str) -> None:
    assert next(iter(written(client, environment=environment))) == path


@pytest.mark.skipif(sys.platform == "darwin", reason="llm keeps its files elsewhere there")
def test_llm_without_a_variable_of_its_own() -> None:
    assert next(iter(written("llm"))) == "/home/u/.config/io.datasette.llm/extra-openai-models.yaml"
    [models, *_] = written("llm", environment={"XDG_CONFIG_HOME": "/x"})
    assert models == "/x/io.datasette.llm/extra-openai-models.yaml"


def test_an_unknown_client_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConnectError, match=r"no client 'emacs'.*claude-code.*generic"):
        client_named("emacs")


def test_variables_for_any_client() -> None:
    assert variables(ENDPOINT)["OPENAI_BASE_URL"] == BASE
    assert variables(ENDPOINT)["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8790"
    assert "export OPENAI_API_KEY='a b'\n" in as_shell(Endpoint("http://h", "a b"))
