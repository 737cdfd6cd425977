"""The gateway's token, made once, and every other secret that the settings hold."""

from __future__ import annotations

import secrets

from metaclaw.config.settings import Settings

PRIVATE_FOLDER = 0o700  # turns are kept in it


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
