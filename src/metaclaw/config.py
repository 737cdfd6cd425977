"""Every setting, in one typed tree.

In: flags, then environment (`METACLAW_GATEWAY__PORT`), then a TOML file, then the defaults below.
Out: `Settings`. A key that is not in the tree is refused, with the nearest key that is.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from metaclaw.errors import ConfigError

ENV_PREFIX = "METACLAW_"
PRIVATE_FOLDER = 0o700  # turns are kept in it
# Addresses to listen on that are none to be found at; each with the one that reaches it from this machine.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - names what it must not be

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _base_url(url: str) -> str:
    """The text of a refusal does not repeat the URL: there may be a password in it."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        known = False
    if not known or re.search(r"[\s@?#]", url):
        raise ValueError("must be a base URL like https://api.example.com/v1, with no user, query or fragment in it")
    return url


def _one_line(key: SecretStr) -> SecretStr:
    """A key travels in a header. One that was pasted with its line end would fail each request."""
    if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
        raise ValueError("must be printable ASCII, without spaces or a line end")
    return key


def _time_zone(name: str) -> str:
    try:
        if name:
            ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # no key, a path out of the database, a folder in it
        raise ValueError(f"'{name}' is not a known time zone; write it like Europe/Berlin") from error
    return name


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", name):
        raise ValueError("must begin with a letter or digit, and hold only those, '.', '_' and '-', 63 at most")
    return name


def _host_name(name: str) -> str:
    """A name alone: what stands for many would let a web page in that was given a name of its own."""
    try:
        return str(ip_address(name))
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
            raise ValueError(
                "must be a host name or an address, such as metaclaw.internal: no scheme, port or wildcard"
            ) from None
    return name.lower()


Url = Annotated[str, AfterValidator(_base_url)]
Key = Annotated[SecretStr, AfterValidator(_one_line)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GatewaySettings(Section):
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback shows your models to the network."""
    allowed_hosts: list[Annotated[str, AfterValidator(_host_name)]] = []
    """Names by which others may address the gateway, besides `localhost` and `host`: a container's, or a proxy's."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8790
    """Port to listen on; 0 takes a free one."""
    token: SecretStr | None = None
    """What clients send as their API key. Without one, a token is made once and kept in `data_dir/token`."""
    max_body_bytes: Count = 32 * 1024 * 1024
    """Larger request bodies are refused with 413, also where they are larger only once unpacked."""
    max_in_flight: Count = 256
    """Requests that are served at once; more are refused with 429 until one is done."""
    head_seconds: Positive = 15.0
    """How long the line and headers of a request may take to arrive."""
    body_seconds: Positive = 60.0
    """How long the body of a request may take to arrive; after that 408."""
    keep_alive_seconds: Positive = 120.0
    """How long a connection may stay open between two requests."""
    durable_timeout_seconds: Positive = 5.0
    """How long the end of a reply may wait for its turn to be on disk; after that it counts as lost until it is."""
    session_idle_seconds: Positive = 3600.0
    """After this long without a turn a session counts as closed, and a conversation that its client does not name gets
    a new one."""

    def url(self, port: int) -> str:
        """Where a program on this machine finds the gateway on that port, without /v1."""
        host = EVERYWHERE.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class ProviderSettings(Section):
    """What `upstream` and each of `upstreams` have in common."""

    url: Url | None = None
    """Base URL of a provider, with its /v1. Without one, the embedded model answers."""
    model: str | None = None
    """Model name sent to the provider. Without one, the client's own name passes through."""
    api_key: Key | None = None
    """The provider's key."""
    auth: Literal["key", "passthrough"] = "key"
    """Whose key the provider gets: `api_key` (`key`), or the client's own Authorization or x-api-key (`passthrough`),
    for subscriptions. The gateway's token then comes as x-metaclaw-token or in the path: /t/TOKEN/v1."""
    formats: Annotated[list[Literal["chat", "messages", "responses"]], Field(min_length=1)] = ["chat"]
    """Wire formats that the provider speaks, the preferred one first; others are translated onto these."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.auth == "passthrough" and self.api_key is not None:
            raise ValueError(
                "with auth = 'passthrough' the provider gets the client's key, never api_key: leave one of them out"
            )
        return self


class UpstreamSettings(ProviderSettings):
    connect_timeout_seconds: Positive = 10.0
    """How long a connection may take, to this and to any of `upstreams`."""
    idle_timeout_seconds: Positive = 300.0
    """How long a provider may stay silent, before the first byte and between two."""


class NamedUpstreamSettings(ProviderSettings):
    """One of several: a table [[upstreams]] of the file."""

    name: Annotated[str, AfterValidator(_name)]
    """What it is called in status and in the policy names of turns."""
    url: Url
    """Base URL of the provider, with its /v1."""
    models: Annotated[list[str], Field(min_length=1)] = ["*"]
    """The client's model names that it serves; `*` and `?` stand for any characters and one."""
    order: int = 1
    """Lower ones are asked first; the next where they fail before a byte of the reply came."""
    weight: Positive = 1.0
    """Its share of the requests among those of the same order."""
    cooldown_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long it is left alone after a failed connection, 429 or 5xx; a Retry-After of its own wins."""


class ModelSettings(Section):
    name: str = "qwen2.5-coder-1.5b"
    """Embedded model: a known name, a path to a .gguf file, or a hub id `org/repo/file.gguf`."""
    slots: Count = 4
    """Requests that the engine works on at once."""
    context_tokens: Annotated[int, Field(ge=512)] = 4096
    """Context of each slot, in tokens."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the engine; 0 takes one per core."""
    start_timeout_seconds: Positive = 120.0
    """How long an engine may take to load."""


class ContextSettings(Section):
    max_skills: Count = 8
    """Skills injected into one request, at most."""
    max_skill_tokens: Count = 800
    """Budget of the injected text, in tokens (estimated at four characters each)."""
    model_tokens: Annotated[int, Field(ge=0)] = 0
    """Context length of the provider's model, in tokens: skills that would not fit beside the request and its reply
    are left out. 0: not known; the embedded model's own is."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.37
    """A skill whose match with the request is below this is not injected."""
    embeddings_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    """Base URL, with its /v1, of an endpoint with `/embeddings`: skills and requests are sent there, and found by its
    vectors where they come in time. Without one, by those that ship with MetaClaw."""
    embeddings_model: str = "text-embedding-3-small"
    """The embedding model asked for there."""
    embeddings_api_key: SecretStr | None = None
    """That endpoint's key."""
    embeddings_timeout_seconds: Positive = 0.15
    """How long a new request waits for its vectors, at most; later ones are counted, and used the next time."""


class EvolveSettings(Section):
    enabled: bool = True
    """Whether failures become skills."""
    proposer: Literal["auto", "extractive", "model"] = "auto"
    """Who writes skills: the user's own words (`extractive`), the model, or the words first and the model
    where they are missing or did not hold (`auto`)."""
    code_skills: bool = True
    """Whether the model also writes code skills, for failures that a program could mend. Only where a sandbox can run
    them, and never with the `extractive` proposer."""
    conversation_skills: Literal["trial", "approve"] = "trial"
    """What becomes of a correction that may pass on somebody else's words: one said in a conversation, or feedback
    whose text quotes, repeats what the agent had read, or tells what was left out of a text. `trial`: what speaks of
    the reply alone is used on trial, is active only once you approve it, three sessions said it or feedback says it
    plainly, and trains nothing before; all else waits for you. `approve`: all of it waits for you. Other feedback is
    used at once in any case."""
    holdout_share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """The share of sessions in which a matching skill is withheld by chance, to measure whether it helps; 0: none, and
    nothing is measured. Pinned skills are never withheld."""


class JudgeSettings(Section):
    enabled: bool = False
    """Whether a model judges the turns that nothing else decided. What it approves may be trained on."""
    votes: Literal[1, 3, 5, 7, 9] = 3
    """Opinions asked for each turn; the majority of them decides, else the judge abstains."""
    rubric: Annotated[str, Field(max_length=4_000)] = ""
    """What a good reply is in this namespace, in your words; a general rubric where none is given."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    """Base URL of an OpenAI-compatible judge, with its /v1; the gateway's own model where none is given. It is sent
    what the turns hold."""
    model: str | None = None
    """Model name sent to the judge; with a `url` it is needed."""
    api_key: SecretStr | None = None
    """The judge's key."""

    @model_validator(mode="after")
    def _named(self) -> JudgeSettings:
        if self.url and not self.model:
            raise ValueError("judge.url needs judge.model, the name of the model there")
        return self


class SandboxSettings(Section):
    engine: Literal["auto", "monty", "strong"] = "auto"
    """Where code skills run: `monty` (a subset of Python, everywhere), `strong` (all of it, in a bubblewrap jail, Linux
    only), or Monty first and the jail for what it cannot run (`auto`)."""
    seconds: Positive = 5.0
    """How long one call of a code skill may take."""
    memory_mb: Annotated[int, Field(ge=64)] = 256
    """Memory that one call may use."""
    output_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    """What one call may print, and how large the JSON of its value may be."""


class TrainingSettings(Section):
    enabled: bool = True
    """Whether the embedded model is trained while you are away."""
    min_new_turns: Count = 24
    """Proven turns that a training run needs."""
    objective: Literal["distill", "sft", "grpo", "opd"] = "distill"
    """`distill`: the model with its skills in the prompt teaches the model without them. `sft`: the proven replies
    alone. `grpo`: several answers to each prompt, scored by its check, else by the judge at `judge.url`. `opd`: a
    stronger model at `teacher_url` teaches."""
    teacher_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    """Only for `opd`: base URL, with its /v1, of a model of the same family whose `/completions` takes token ids and
    tells log-probabilities (vLLM, SGLang, llama.cpp). It is sent what the turns hold."""
    teacher_model: str | None = None
    """The teacher's name there."""
    teacher_api_key: SecretStr | None = None
    """The teacher's key."""
    backend: Literal["local", "tinker"] = "local"
    """Where the model learns: `local`, on this machine, or `tinker`, behind the Tinker API, on a server of your own or
    in the cloud, which is sent what the turns hold, as token ids."""
    tinker_url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    """Only for `tinker`: base URL of a server of your own, without a path; the cloud service where none is given."""
    tinker_model: str | None = None
    """Only for `tinker`: the server's name of the very model that is embedded here, unquantised."""
    tinker_api_key: SecretStr | None = None
    """Only for `tinker`: the key, which `TINKER_API_KEY` in the environment gives as well."""
    kl_budget: Positive = 0.5
    """How far from the base model a run may go, in nats a rehearsed token, before it stops."""
    max_examples: Count = 160
    """Turns that one run trains on, at most; the newest are taken."""
    replay_examples: Annotated[int, Field(ge=0)] = 24
    """The model's own answers to unrelated prompts that are mixed in against forgetting."""
    epochs: Count | None = None
    """Passes over the data; the trainer's measured default where none is given."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads of the trainer; 0 takes one per core."""
    erased_data: Literal["rollback", "flag"] = "rollback"
    """What becomes of an adapter when a session is erased that it came from: `rollback` takes it out of service at
    once, `flag` marks it and lets it serve until you decide."""

    @model_validator(mode="after")
    def _taught(self) -> TrainingSettings:
        if self.objective == "opd" and not (self.teacher_url and self.teacher_model):
            raise ValueError("training.objective = 'opd' needs training.teacher_url and training.teacher_model")
        if self.backend == "tinker" and not self.tinker_model:
            raise ValueError("training.backend = 'tinker' needs training.tinker_model")
        if self.backend == "tinker" and not self.replay_examples:
            raise ValueError("training.backend = 'tinker' needs training.replay_examples, to measure drift on")
        return self


class ServingSettings(Section):
    engine: Literal["local", "vllm"] = "local"
    """What serves the model that is ours: an engine on this machine for each policy version (`local`), or a vLLM server
    that loads adapters at run time (`vllm`)."""
    vllm_url: Url | None = None
    """Base URL of that server, with its /v1."""
    vllm_api_key: Key | None = None
    """Its key, where it was started with --api-key."""
    vllm_adapters_dir: str | None = None
    """The folder `adapters` of the data folder as the server sees it, where that is another path: in a container."""
    reserve_memory_mb: Annotated[int, Field(ge=0)] = 512
    """Memory that must stay free beside a second engine on this machine; a swap that would leave less is refused."""
    canary_share: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    """The share of sessions that a new adapter serves at first, while it is compared with what served before; 0 lets
    it serve all of them at once. For this embedded model, both engines are then in memory."""
    canary_sessions: Count = 20
    """Sessions that a new adapter must have served without harm before it serves all."""
    canary_hours: Positive = 24.0
    """After this long it serves all even with fewer sessions, as long as nothing speaks against it."""
    spare_minutes: Annotated[float, Field(ge=0)] = 10.0
    """How long the engine of the version before is kept, so that a rollback takes no time; it costs its memory."""
    carry_skills: bool = False
    """Whether skills leave the context once an adapter that does without their text serves all sessions. They come back
    with its rollback. Off, since the next training run begins at the base model, and learns from turns with skills."""


class ScheduleSettings(Section):
    idle_seconds: Positive = 900.0
    """Without a request for this long, and where the machine tells it, without keyboard or mouse, a training window is
    open."""
    sleep_hours: str = "23:00-07:00"
    """Hours in which a window opens after a short quiet; empty for none."""
    sleep_quiet_seconds: Positive = 60.0
    """Quiet needed before a window opens inside the sleep hours or in a meeting."""
    time_zone: Annotated[str, AfterValidator(_time_zone)] = ""
    """Time zone of the sleep hours, such as Europe/Berlin; the machine's own where none is given."""
    calendar: SecretStr | None = None
    """An iCalendar file, or its http, https or webcal URL: in its meetings, too, a short quiet opens a window."""
    calendar_owner: str = ""
    """Your address in that calendar, so that what you declined does not count."""
    min_minutes: Annotated[float, Field(ge=0)] = 10.0
    """Training neither starts nor resumes where sleep hours or meeting end sooner than this."""
    watch_input: bool = True
    """Whether keyboard and mouse count as you being there, where the machine tells how long they were still."""
    on_battery: bool = False
    """Whether to train on battery."""
    max_load: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the processors that other programs may use while training starts; 1 does not look at it. Linux only."""


class DashboardSettings(Section):
    enabled: bool = True
    """Whether the learner serves the dashboard, on 127.0.0.1: `metaclaw dashboard` prints its link."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8792
    """Port of the dashboard; 0 takes a free one, and so does a port that is taken."""


class LogSettings(Section):
    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line, with the ids of what it is about. Secrets are masked in both."""
    level: Literal["debug", "info", "warning", "error"] = "warning"
    """What is written, from this on; `metaclaw start --verbose` is `info`. The learner always says what it learned."""


class TelemetrySettings(Section):
    otlp_endpoint: Url | None = None
    """Base URL of an OpenTelemetry collector (OTLP over HTTP), such as http://127.0.0.1:4318: each turn is sent there
    as a span. Without one, nothing is."""
    headers: SecretStr | None = None
    """Headers that the collector wants: name=value, several with commas between."""
    content: bool = False
    """Whether spans also hold what was asked and said, with secrets redacted."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Path("~/.metaclaw")
    """Where everything is kept: store, skills, adapters, token."""
    models_dir: Path | None = None
    """Where model weights are cached; `data_dir/models` where none is given."""
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = "default"
    """The border that no turn, skill or adapter crosses."""
    gateway: GatewaySettings = GatewaySettings()
    upstream: UpstreamSettings = UpstreamSettings()
    upstreams: list[NamedUpstreamSettings] = []
    """Several providers, with order, weights and fallback, in place of the one in `upstream`: tables [[upstreams]]."""
    model: ModelSettings = ModelSettings()
    context: ContextSettings = ContextSettings()
    evolve: EvolveSettings = EvolveSettings()
    judge: JudgeSettings = JudgeSettings()
    sandbox: SandboxSettings = SandboxSettings()
    training: TrainingSettings = TrainingSettings()
    serving: ServingSettings = ServingSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    dashboard: DashboardSettings = DashboardSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `load` alone reads the environment: what one process hands another stays as it is

    @model_validator(mode="after")
    def _one_way_to_name_providers(self) -> Self:
        one = ProviderSettings(**{name: getattr(self.upstream, name) for name in ProviderSettings.model_fields})
        if self.upstreams and one != ProviderSettings():
            raise ValueError(
                "[[upstreams]] and the provider in [upstream] exclude each other: make that one an entry of upstreams,"
                " and keep only the timeouts in [upstream]"
            )
        if one.auth == "passthrough" and one.url is None:
            raise ValueError("upstream.auth = 'passthrough' needs a provider: set upstream.url")
        names = [upstream.name for upstream in self.upstreams]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two upstreams have the same name: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if self.serving.engine == "vllm" and self.serving.vllm_url is None:
            raise ValueError("serving.engine = 'vllm' needs the server's address: set serving.vllm_url")
        if self.serving.engine == "vllm" and self.provider_urls:
            raise ValueError(
                "serving.engine = 'vllm' serves the model that is trained here, and a provider serves its own: leave"
                " upstream.url and [[upstreams]] out, or serving.engine"
            )
        return self

    @property
    def home(self) -> Path:
        return self.data_dir.expanduser().absolute()

    @property
    def weights_dir(self) -> Path:
        return (self.models_dir or self.home / "models").expanduser().absolute()

    @property
    def embedded(self) -> bool:
        """Whether a model that is ours to train answers, rather than a provider."""
        return not self.provider_urls

    @property
    def may_ask(self) -> bool:
        """Whether there is a model that the learner may ask: with `passthrough`, only clients have a key."""
        providers: Sequence[ProviderSettings] = self.upstreams or [self.upstream]
        return any(one.auth == "key" for one in providers)

    @property
    def provider_urls(self) -> list[str]:
        return [one.url for one in (self.upstream, *self.upstreams) if one.url]


class _SettingsOfEnvironment(Settings):
    """The same tree, with the environment over what is given."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings. `flags` is a nested mapping like the tree; it wins over the environment and the file.

    Without `file`, `METACLAW_CONFIG` names it, else `~/.metaclaw/config.toml` is read if it is there.
    Raises `ConfigError`, with the key at fault and, for an unknown one, its nearest known neighbour.
    """
    path, named = config_file(file)
    from_file = _read_toml(path, required=named)
    _refuse_unknown(from_file, str(path) if named else "config.toml")
    _refuse_unknown(flags or {}, "flags")
    _refuse_unknown_environment()
    try:
        below = _SettingsOfEnvironment(**from_file)
        return Settings.model_validate(_merge(below.model_dump(), flags or {}))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error
    except SettingsError as error:
        raise ConfigError(f"The environment cannot be used: {error}") from error


def config_file(file: Path | None = None) -> tuple[Path, bool]:
    """The file that `load` reads, and whether somebody named it, so that it must be there."""
    named = file or (Path(os.environ["METACLAW_CONFIG"]) if "METACLAW_CONFIG" in os.environ else None)
    return (named or Path("~/.metaclaw/config.toml")).expanduser(), named is not None


def sources(file: Path | None = None) -> dict[str, str]:
    """By dotted key, where its value comes from, for those that do not come from the defaults. Flags are not in it."""
    path, named = config_file(file)
    found = dict.fromkeys(_leaves(_read_toml(path, required=named)), str(path))
    for name, value in os.environ.items():
        if name.startswith(ENV_PREFIX) and name != "METACLAW_CONFIG":
            dotted = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            found |= dict.fromkeys(_leaves_of_variable(dotted, value), f"environment: {name}")
    return found


def ensure_token(settings: Settings) -> str:
    """The token that clients must send: the configured one, else the one in `data_dir/token`, made if missing."""
    if settings.gateway.token is not None:
        return settings.gateway.token.get_secret_value()
    path = settings.home / "token"
    if not path.exists() or not path.stat().st_size:  # an empty one: we were killed while making it
        path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text("mc-" + secrets.token_urlsafe(24), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def known_token(settings: Settings) -> str | None:
    """The same where there is one already; nothing is made."""
    if settings.gateway.token is not None or (settings.home / "token").is_file():
        return ensure_token(settings)
    return None


def known_secrets(settings: Settings) -> list[str]:
    """Every secret that the settings hold, and the token where there is one: what must be masked wherever we write."""
    token, calendar = known_token(settings), settings.schedule.calendar  # a file's name is no secret
    address = [calendar] if calendar and "://" in calendar.get_secret_value() else []
    held = [
        *(one.api_key for one in (settings.upstream, *settings.upstreams)), settings.judge.api_key,
        settings.training.teacher_api_key, settings.serving.vllm_api_key, settings.context.embeddings_api_key,
        settings.telemetry.headers, *address,
    ]
    return [*([token] if token else []), *(key.get_secret_value() for key in held if key)]


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the tree, sections included."""
    for name, info in model.model_fields.items():
        yield prefix + name
        if section := section_of(info.annotation):
            yield from known_keys(section, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, one or a list of them; None for a plain value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _leaves_of_variable(dotted: str, value: str) -> list[str]:
    """A variable may hold a whole section, as JSON."""
    try:
        tree = json.loads(value)
    except ValueError:
        return [dotted]
    return list(_leaves(tree, f"{dotted}.")) if isinstance(tree, dict) else [dotted]


def _read_toml(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.exists():
        if required:
            raise ConfigError(f"There is no configuration file {path}. Create it, or leave out --config.")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _refuse_unknown(tree: Mapping[str, Any], source: str, prefix: str = "") -> None:
    known = set(known_keys())
    for key, value in tree.items():
        dotted = prefix + key
        if dotted not in known:
            raise ConfigError(f"Unknown setting '{dotted}' in {source}.{_nearest(dotted, known)}")
        for section in value if isinstance(value, list) else [value]:
            if isinstance(section, Mapping):
                _refuse_unknown(section, source, f"{dotted}.")


def _refuse_unknown_environment() -> None:
    known = set(known_keys())
    for name in os.environ:
        if name.startswith(ENV_PREFIX) and name != "METACLAW_CONFIG":
            dotted = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            if dotted not in known:
                raise ConfigError(f"Unknown setting in the environment: {name}.{_nearest(dotted, known)}")


def _nearest(key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else " See `metaclaw config show` for the known ones."


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _explain(error: ValidationError) -> str:
    lines = [": ".join(filter(None, [".".join(map(str, item["loc"])), _words(item)])) for item in error.errors()]
    return "These settings cannot be used:\n  " + "\n  ".join(lines)


def _words(item: Any) -> str:
    if item["loc"] == ("upstreams",) and item["type"] == "list_type":
        return "write each as a table of its own: [[upstreams]]"
    return str(item["msg"]).removeprefix("Value error, ")
