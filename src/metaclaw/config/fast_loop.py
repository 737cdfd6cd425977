"""The settings of the fast loop, from failures to skills: who writes them, who judges, and where code skills run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from metaclaw.config.values import Positive, Section


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
    the reply alone is used on trial, is active only once you approve it, three sessions said it or feedback shows it,
    and trains nothing before; all else waits for you. `approve`: all of it waits for you. Other feedback is used at
    once in any case."""
    posted_feedback: Literal["shown", "all"] = "shown"
    """Which feedback makes a skill that its replays prove active, so that it may train the model. `shown`: what shows
    the right answer in code marks ("It should have been `...`"); all other is used at once, on trial, and becomes
    active once you approve it, three sessions said it, or feedback shows it. `all`: whatever is posted, for a harness
    whose words nobody else can reach."""
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
