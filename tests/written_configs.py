"""Configuration files as people write them, drawn at random: values, and text with comments and habits of layout."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

KEYS = st.sampled_from(["env", "model", "provider", "agents", "models", "a", "b", "c-d", "nested", "list"])
WORDS = st.text("abcdefghijklmnop -_./é", min_size=1, max_size=12).map(str.strip).filter(
    lambda word: word[:1].isalpha() and word not in ("no", "on", "off")
)
SCALARS = st.one_of(st.booleans(), st.integers(-1000, 1000), WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(SCALARS, min_size=1, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


class Pen:
    """Writes values as text, drawing its habits as it goes, and notes the comments that it made."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.comments: list[str] = []

    def chance(self) -> bool:
        return self._data.draw(st.booleans())

    def one_of(self, *choices: str) -> str:
        return self._data.draw(st.sampled_from(choices))

    def comment(self, mark: str) -> str:
        """A comment of its own, or none."""
        if not self.chance():
            return ""
        self.comments.append(f"note {len(self.comments)} {{]:,'\"")
        return f"{mark} {self.comments[-1]}"

    def json5(self, value: Any, indent: str = "") -> str:
        if isinstance(value, dict | list):
            return self._json5_nest(value, indent)
        if isinstance(value, str) and self.chance():
            return "'" + json.dumps(value)[1:-1].replace("'", "\\'") + "'"
        return json.dumps(value, ensure_ascii=self.chance())

    def _json5_nest(self, value: Any, indent: str) -> str:
        opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
        inner = indent + self.one_of("  ", "    ", "\t")
        over_lines = self.chance()
        entries = list(value.items() if isinstance(value, dict) else ((None, entry) for entry in value))
        written = opening + (self._line_end(inner) if over_lines else self.one_of("", " "))
        for number, (key, entry) in enumerate(entries):
            comma = "," if number < len(entries) - 1 or self.chance() else ""
            end = "\n" if over_lines else self.one_of("", " ")
            if over_lines:
                note = self.comment("//") if self.chance() else ""
                end = f" {note}\n" if note else "\n"
                written += inner
            written += (self._json5_key(key) if key is not None else "") + self.json5(entry, inner) + comma + end
        return written + (indent if over_lines else "") + closing

    def _line_end(self, indent: str) -> str:
        note = self.comment("//")
        return f" {note}\n" if note else "\n"

    def _json5_key(self, key: str) -> str:
        bare = key.isidentifier() and self.chance()
        return (key if bare else self.json5(key)) + self.one_of(":", ": ", " : ")

    def yaml(self, value: Any, indent: str = "") -> str:
        """The lines of a mapping or a list, each ending with a newline."""
        step = indent + self.one_of("  ", "    ")
        lines = ""
        for key, entry in value.items() if isinstance(value, dict) else ((None, entry) for entry in value):
            note = self.comment("#")
            lines += f"{indent}{note}\n" if note and self.chance() else self.one_of("", "", "\n")
            if note and note not in lines:
                self.comments.pop()
            head = f"{indent}- " if key is None else f"{indent}{key}: "
            if isinstance(entry, dict) and entry and self.chance() and key is not None:
                lines += head.rstrip() + "\n" + self.yaml(entry, step)
            elif isinstance(entry, list) and self.chance() and key is not None:
                lines += head.rstrip() + "\n" + self.yaml(entry, indent if self.chance() else step)
            else:
                end = self.comment("#")
                lines += head + json.dumps(entry, ensure_ascii=False) + (f"  {end}\n" if end else "\n")
        return lines

    def toml(self, value: dict[str, Any], path: str = "") -> str:
        """A table's own keys, then its tables."""
        tables = {key: entry for key, entry in value.items() if isinstance(entry, dict)}
        lines = ""
        for key, entry in value.items():
            if key not in tables:
                note = self.comment("#")
                written = json.dumps(entry, ensure_ascii=False)
                lines += f"{key}{self.one_of('=', ' = ')}{written}" + (f" {note}\n" if note else "\n")
        for key, entry in tables.items():
            name = f"{path}.{key}" if path else key
            note = self.comment("#")
            lines += self.one_of("", "\n") + f"[{name}]" + (f" {note}\n" if note else "\n") + self.toml(entry, name)
        return lines
