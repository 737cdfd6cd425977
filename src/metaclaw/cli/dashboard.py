"""`metaclaw dashboard`: a one-time link into the dashboard that the learner serves."""

from __future__ import annotations

import json
import webbrowser
from http.client import HTTPException
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import typer

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings
from metaclaw.config.secret import ensure_token
from metaclaw.config.settings import Settings
from metaclaw.errors import MetaClawError
from metaclaw.running import dashboards, gateways

TIMEOUT_SECONDS = 10.0


def dashboard(
    open_it: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link into the dashboard: good for one browser, once, within five minutes.

    Example: metaclaw dashboard --open
    """
    settings = load_settings(config, data_dir)
    running = dashboards(settings.home, settings.namespace)
    if not running:
        raise MetaClawError(_why_none(settings))
    link = _link(running[-1].url, ensure_token(settings))
    opened = open_it and webbrowser.open(link)
    if as_json:
        typer.echo(json.dumps({"url": running[-1].url, "link": link, "opened": opened}))
        return
    if not opened:
        typer.echo(link)
    if open_it:
        typer.echo("opened in your browser" if opened else "there is no browser here: open the link yourself", err=True)


def _why_none(settings: Settings) -> str:
    if not settings.dashboard.enabled:
        return "The dashboard is off. Set dashboard.enabled = true, and start again."
    if not (settings.evolve.enabled or settings.training.enabled):
        return "The learner serves the dashboard, and learning is off. Set evolve.enabled = true, and start again."
    if gateways(settings.home, settings.namespace):
        return "The gateway runs, and its learner shows no dashboard yet. Try again in some seconds."
    return f"Nothing runs on {settings.home}: there is no dashboard. Start it with `metaclaw start`."


def _link(url: str, token: str) -> str:
    request = Request(f"{url}/link", method="POST", headers={"authorization": f"Bearer {token}"})  # noqa: S310 - our own
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_SECONDS) as reply:
            told: dict[str, Any] = json.loads(reply.read())
            return str(told["url"])
    except HTTPError as error:
        with error:
            raise MetaClawError(
                f"The dashboard at {url} refuses our token ({error.code}). Was it started with another?"
            ) from error
    except (URLError, HTTPException, OSError, ValueError, KeyError) as error:
        reason = getattr(error, "reason", error)
        raise MetaClawError(
            f"The dashboard at {url} does not answer ({reason}). `metaclaw doctor` may know why."
        ) from error
