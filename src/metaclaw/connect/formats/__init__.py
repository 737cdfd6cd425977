"""How configuration files are written: change one setting and leave every other byte as it is."""

from __future__ import annotations

from metaclaw.connect.formats import json5_text, plain_text, toml_text, yaml_text
from metaclaw.connect.formats.base import Format

FORMATS: dict[str, Format] = {format_.NAME: format_ for format_ in (json5_text, toml_text, yaml_text, plain_text)}
