"""Settings: where they come from, which wins, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaclaw.config.addresses import url_here
from metaclaw.config.loading import load
from metaclaw.config.request_path import GatewaySettings
from metaclaw.config.secret import ensure_token
from metaclaw.config.settings import Settings, known_keys
from metaclaw.errors import ConfigError


@pytest.fixture(autouse=True)
def _nobodys_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("METACLAW_CONFIG", "METACLAW_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def toml(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_the_defaults_are_closed_to_the_network() -> None:
    settings = load()
    assert settings.gateway.host == "127.0.0.1"
    assert settings.embedded


@pytest.mark.parametrize(("host", "found"), [
    ("127.0.0.1", "http://127.0.0.1:8"), ("localhost", "http://localhost:8"), ("fd00::2", "http://[fd00::2]:8"),
    ("0.0.0.0", "http://127.0.0.1:8"), ("::", "http://[::1]:8"), ("", "http://127.0.0.1:8"),  # noqa: S104
])
def test_where_a_gateway_is_found_that_listens_on(host: str, found: str) -> None:
    assert GatewaySettings(host=host).url(8) == found


def test_names_that_others_may_use_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_GATEWAY__ALLOWED_HOSTS", '["MetaClaw", "gw.internal", "fd00::2"]')
    assert load().gateway.allowed_hosts == ["metaclaw", "gw.internal", "fd00::2"]
    for wrong in ("*", "*.internal", "http://gw", "gw:8790", "ad:8790", "", ".", "a b"):
        with pytest.raises(ConfigError, match="allowed_hosts"):
            load(None, {"gateway": {"allowed_hosts": [wrong]}})


def test_flags_win_over_the_environment_which_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = toml(tmp_path, "[gateway]\nport = 1\nhost = '127.0.0.9'\n[model]\nslots = 7\n")
    monkeypatch.setenv("METACLAW_GATEWAY__PORT", "2")
    monkeypatch.setenv("METACLAW_MODEL__THREADS", "3")
    assert load(file).gateway.port == 2
    settings = load(file, {"gateway": {"port": 4}})
    assert (settings.gateway.port, settings.gateway.host) == (4, "127.0.0.9")
    assert (settings.model.slots, settings.model.threads) == (7, 3)


def test_settings_handed_to_another_process_arrive_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_EVOLVE__PROPOSER", "model")
    handed = load(flags={"evolve": {"proposer": "extractive"}}).model_dump(mode="json")
    assert Settings.model_validate(handed).evolve.proposer == "extractive"


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METACLAW_CONFIG", str(toml(tmp_path, "namespace = 'work'\n")))
    assert load().namespace == "work"


def test_the_file_in_the_home_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / ".metaclaw").mkdir()
    (tmp_path / ".metaclaw" / "config.toml").write_text("namespace = 'athome'\n", encoding="utf-8")
    assert load().namespace == "athome"


def test_the_formats_that_a_provider_speaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load().upstream.formats == ["chat"]
    assert load(toml(tmp_path, "[upstream]\nformats = ['messages', 'chat']\n")).upstream.formats == ["messages", "chat"]
    with pytest.raises(ConfigError, match=r"upstream\.formats"):
        load(flags={"upstream": {"formats": ["telepathy"]}})
    monkeypatch.setenv("METACLAW_UPSTREAM__FORMATS", '["messages"]')
    assert load().upstream.formats == ["messages"]


@pytest.mark.parametrize("text", ["[gateway]\nprot = 1\n", "[gatway]\nport = 1\n"])
def test_an_unknown_key_of_the_file_names_its_neighbour(tmp_path: Path, text: str) -> None:
    file = toml(tmp_path, text)
    with pytest.raises(ConfigError, match=r"Unknown setting .* in .*some\.toml\. Did you mean 'gateway"):
        load(file)


def test_an_unknown_flag_names_its_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"'model\.slot' in flags\. Did you mean 'model\.slots'"):
        load(flags={"model": {"slot": 1}})


def test_an_unknown_variable_names_its_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_GATEWAY__PROT", "1")
    with pytest.raises(ConfigError, match=r"METACLAW_GATEWAY__PROT\. Did you mean 'gateway\.port'"):
        load()


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"gateway": {"port": 70_000}}, "gateway.port"),
        ({"training": {"objective": "magic"}}, "training.objective"),
        ({"namespace": "../up"}, "namespace"),
        ({"context": {"min_score": 2}}, "context.min_score"),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_key(flags: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load(flags=flags)


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com/v1", "ftp://a/v1", "http://", "http://:80/v1", "http://a:99999/v1", "http://[::1/v1", "",
        "http://a b/v1", "https://me:hidden@a/v1", "https://a/v1?key=hidden", "https://a/v1#x", "http://a:0/v1",
    ],
)
def test_what_is_no_base_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match=r"upstream\.url: must be a base URL like https://") as refused:
        load(flags={"upstream": {"url": url}})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://a", "https://a.b/v1", "http://127.0.0.1:1/v1/", "http://[::1]:8000/v1"])
def test_a_base_url_is_taken_as_it_is(url: str) -> None:
    assert load(flags={"upstream": {"url": url}}).upstream.url == url


@pytest.mark.parametrize("key", ["hidden\n", "hidden key", "", "hiddén"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigError, match=r"upstream\.api_key: must be printable ASCII") as refused:
        load(flags={"upstream": {"api_key": key}})
    assert "hidd" not in str(refused.value)


ONE, TWO = {"name": "a", "url": "http://a/v1"}, {"name": "b", "url": "http://b/v1"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"upstream": {"url": "http://a/v1"}, "upstreams": [ONE]}, "[[upstreams]] and the provider in [upstream]"),
        ({"upstream": {"model": "m"}, "upstreams": [ONE]}, "keep only the timeouts in [upstream]"),
        ({"upstream": {"url": "http://a/v1", "auth": "passthrough", "api_key": "k"}}, "upstream: with auth = 'pass"),
        ({"upstreams": [ONE, {**TWO, "auth": "passthrough", "api_key": "k"}]}, "upstreams.1: with auth = 'passthr"),
        ({"upstream": {"auth": "passthrough"}}, "upstream.auth = 'passthrough' needs a provider: set upstream.url"),
        ({"upstreams": [ONE, {**TWO, "name": "a"}]}, "two upstreams have the same name: a"),
        ({"upstreams": [{"name": "a"}]}, "upstreams.0.url: Field required"),
        ({"upstreams": [{**ONE, "name": "a b"}]}, "upstreams.0.name: must begin with a letter or digit"),
        ({"upstreams": ONE}, "upstreams: write each as a table of its own: [[upstreams]]"),
    ],
)
def test_settings_that_contradict_each_other_say_how_to_mend_it(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(flags=flags)
    assert says in str(refused.value)


def test_several_upstreams_take_their_timeouts_from_upstream(tmp_path: Path) -> None:
    settings = load(toml(tmp_path, """
        [upstream]
        idle_timeout_seconds = 60
        [[upstreams]]
        name = "a"
        url = "http://a/v1"
        [[upstreams]]
        name = "b"
        url = "http://b/v1"
        order = 2
    """))
    assert ([one.name for one in settings.upstreams], settings.embedded) == (["a", "b"], False)
    assert settings.provider_urls == ["http://a/v1", "http://b/v1"]


def test_a_section_in_the_environment_that_is_no_json_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_GATEWAY", "{port")
    with pytest.raises(ConfigError, match="gateway"):
        load()


def test_a_named_file_must_exist_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(toml(tmp_path, "= ["))


def test_secrets_are_masked_wherever_settings_are_shown() -> None:
    settings = load(flags={"gateway": {"token": "very-secret-1"}, "upstream": {"api_key": "very-secret-2"}})
    assert "very-secret" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert ensure_token(settings) == "very-secret-1"


def test_a_refused_secret_is_not_repeated_in_the_message() -> None:
    with pytest.raises(ConfigError) as refused:
        load(flags={"upstream": {"api_key": ["very-secret"]}})
    assert "very-secret" not in str(refused.value)


def test_the_token_is_made_once_and_is_for_its_owner_only(tmp_path: Path) -> None:
    settings = load(flags={"data_dir": str(tmp_path / "data")})
    token = ensure_token(settings)
    assert len(token) > 30
    assert ensure_token(settings) == token
    assert (settings.home / "token").stat().st_mode & 0o077 == 0


def test_a_judge_elsewhere_needs_the_name_of_its_model() -> None:
    with pytest.raises(ConfigError, match=r"judge\.url needs judge\.model"):
        load(flags={"judge": {"url": "http://127.0.0.1:1/v1"}})
    judge = load(flags={"judge": {"url": "http://127.0.0.1:1/v1", "model": "m", "votes": 5}}).judge
    assert (judge.enabled, judge.votes) == (False, 5)
    with pytest.raises(ConfigError, match=r"judge\.votes"):
        load(flags={"judge": {"votes": 2}})  # two votes have no majority but agreement


SEVERAL = """
[[upstreams]]
name = "main"
url = "https://a.example/v1"
auth = "passthrough"
formats = ["messages"]
[[upstreams]]
name = "spare"
url = "https://b.example/v1"
api_key = "very-secret"
models = ["gpt-*"]
order = 2
"""


def test_several_upstreams_are_off_by_default_and_come_from_tables(tmp_path: Path) -> None:
    assert load().upstreams == []
    settings = load(toml(tmp_path, SEVERAL + "[upstream]\nidle_timeout_seconds = 7\n"))
    assert [(one.name, one.auth, one.models, one.order, one.weight) for one in settings.upstreams] == [
        ("main", "passthrough", ["*"], 1, 1.0), ("spare", "key", ["gpt-*"], 2, 1.0)
    ]
    assert not settings.embedded
    assert settings.provider_urls == ["https://a.example/v1", "https://b.example/v1"]
    assert "very-secret" not in f"{settings!r} {settings.model_dump_json()}"
    assert Settings.model_validate(settings.model_dump()) == settings


def test_several_upstreams_may_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_UPSTREAMS", '[{"name": "a", "url": "http://a/v1"}]')
    assert [one.name for one in load().upstreams] == ["a"]


A, B = {"name": "a", "url": "http://a/v1"}, {"name": "b", "url": "http://b/v1"}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"upstream": {"url": "http://a", "auth": "passthrough", "api_key": "very-secret"}}, "leave one of them out"),
        ({"upstream": {"auth": "passthrough"}}, "set upstream.url"),
        ({"upstream": {"url": "http://a"}, "upstreams": [B]}, "exclude each other"),
        ({"upstream": {"api_key": "very-secret"}, "upstreams": [B]}, "exclude each other"),
        ({"upstreams": [A, A, B]}, "same name: a"),
        ({"upstreams": [{**A, "auth": "passthrough", "api_key": "very-secret"}]}, r"upstreams\.0: .*leave one"),
        ({"upstreams": [{"name": "a"}]}, r"upstreams\.0\.url"),
        ({"upstreams": [{**A, "weight": 0}]}, r"upstreams\.0\.weight"),
        ({"upstreams": [{**A, "models": []}]}, r"upstreams\.0\.models"),
        ({"upstreams": [{**A, "name": "no\nline"}]}, r"upstreams\.0\.name"),
        ({"upstreams": [{**A, "wieght": 1}]}, r"'upstreams\.wieght' .*Did you mean 'upstreams\.weight'"),
        ({"upstream": {"url": "http://user:very-secret@a/v1"}}, r"upstream\.url"),
        ({"upstream": {"formats": []}}, r"upstream\.formats"),
    ],
)
def test_upstreams_that_contradict_themselves_are_refused(flags: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        load(flags=flags)
    assert "very-secret" not in str(refused.value)
    assert "Value error" not in str(refused.value)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().gateway.port = 1


def test_every_setting_is_explained() -> None:
    unexplained = [
        f"{name}.{key}"
        for name, section in Settings.model_fields.items()
        if isinstance(section.annotation, type) and hasattr(section.annotation, "model_fields")
        for key, info in section.annotation.model_fields.items()
        if not info.description
    ]
    assert not unexplained
    assert "schedule.sleep_hours" in set(known_keys())


@pytest.mark.parametrize(("host", "url"), [
    ("127.0.0.1", "http://127.0.0.1:1"), ("::", "http://[::1]:1"), ("", "http://127.0.0.1:1"),
    ("box.lan", "http://box.lan:1"),
])
def test_what_listens_everywhere_is_found_on_this_machine(host: str, url: str) -> None:
    assert url_here(host, 1) == url
