"""The settings of the slow loop, from proven turns to weights: how they are trained, served, and when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from metaclaw.config.values import Count, Key, Positive, Section, TimeZone, Url


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
    renew_turns: Annotated[int, Field(ge=0)] = 48
    """Turns that came with a check, and that a change of the library has put out of use, are asked again when a run
    begins, at most so many; 0 asks none. Each takes the embedded model some seconds."""
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
    time_zone: TimeZone = ""
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
