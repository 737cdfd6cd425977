"""What a setting may be: kinds of values that several sections share, each with the words that refuse what is none."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

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
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Name = Annotated[str, AfterValidator(_name)]
HostName = Annotated[str, AfterValidator(_host_name)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
