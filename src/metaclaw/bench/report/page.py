"""All committed results as one page, `results.html`: what holds, what does not, and how to make each figure again.

The page names its pictures by their place beside it, holds everything else itself, and is the same for the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from metaclaw.bench.report import wording
from metaclaw.bench.report.committed import Result
from metaclaw.bench.report.pictures import drawable, picture

PICTURES = "images/results"


def publish(results: Sequence[Result], docs: Path) -> Path:
    """Write `DOCS/results.html` and the pictures below `DOCS/images/results`; the page's path."""
    for result in results:
        if drawable(result):
            picture(result, docs / PICTURES)
    docs.mkdir(parents=True, exist_ok=True)
    path = docs / "results.html"
    path.write_text(page(results), encoding="utf-8")
    return path


def page(results: Sequence[Result]) -> str:
    """The page as HTML."""
    ordered = wording.in_order(results, lambda result: result.name)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files(__package__).joinpath("results.html").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        results=ordered, wording=wording, drawable=drawable, pictures=PICTURES,
        held=sum(result.held for result in results), asked=sum(len(result.checks) for result in results),
    ) + "\n"  # fmt: skip
