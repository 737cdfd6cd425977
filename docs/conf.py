"""The documentation as pages: `make docs` builds them into docs/_build/html, which opens without a server or a network.

Sphinx with MyST and Furo, since MkDocs 1 is not maintained any more and its Material theme has reached its end. Links
and anchors are checked strictly: whatever leads nowhere fails the build.
"""

import ast
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
INIT = ast.parse((ROOT / "src" / "metaclaw" / "__init__.py").read_text(encoding="utf-8"))

project = "MetaClaw"
copyright = "the MetaClaw authors"  # noqa: A001 - Sphinx calls it so
release = next(ast.literal_eval(one.value) for one in INIT.body if isinstance(one, ast.Assign))  # its one assignment
extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_linkify_fuzzy_links = False
suppress_warnings = ["misc.highlighting_failure"]  # examples with comments behind the command are no shell to Pygments
html_theme = "furo"
html_title = f"MetaClaw {release}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0f5c73", "color-brand-content": "#0f5c73"},
    "dark_css_variables": {"color-brand-primary": "#6cc3da", "color-brand-content": "#6cc3da"},
}


def setup(app: Any) -> None:
    app.connect("build-finished", _add_results)


def _add_results(app: Any, _: object) -> None:
    """The page of all committed results is made by `metaclaw bench report --page`, and goes along as it is."""
    source, target = Path(app.srcdir), Path(app.outdir)
    shutil.copy(source / "results.html", target)
    shutil.copytree(source / "images" / "results", target / "images" / "results", dirs_exist_ok=True)
