"""The settings on a request's way: the gateway, the providers, the embedded model, and the context of skills."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from metaclaw.config.addresses import url_here
from metaclaw.config.values import Count, HostName, Key, Name, Positive, Section, Url


class GatewaySettings(Section):
    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback shows your models to the network."""
    allowed_hosts: list[HostName] = []
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
        return url_here(self.host, port)


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

    name: Name
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
    are left out. 0: not known; the embedded model's own is. What a provider finds too long is asked again without."""
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
