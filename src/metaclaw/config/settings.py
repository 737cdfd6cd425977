"""The whole tree, `Settings`: its sections, what they may not say together, and the names of its keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from metaclaw.config.fast_loop import EvolveSettings, JudgeSettings, SandboxSettings
from metaclaw.config.observability import DashboardSettings, LogSettings, TelemetrySettings
from metaclaw.config.request_path import (
    ContextSettings,
    GatewaySettings,
    ModelSettings,
    NamedUpstreamSettings,
    ProviderSettings,
    UpstreamSettings,
)
from metaclaw.config.slow_loop import ScheduleSettings, ServingSettings, TrainingSettings

ENV_PREFIX = "METACLAW_"


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
