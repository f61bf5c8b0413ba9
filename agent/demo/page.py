"""One static page that shows what the demo did; needs no server and no script."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, select_autoescape

from agent.outputs.wording import scores_line

if TYPE_CHECKING:
    from agent.demo.run import DemoResult


def write_page(out: Path, results: "list[DemoResult]", truths: Mapping[str, list[str]]) -> Path:
    """Writes `index.html` into the demo's folder and returns its path.

    Args:
        truths: patient ID to what was drawn, one line for each finding.
    """
    environment = Environment(loader=PackageLoader("agent.demo"), autoescape=select_autoescape())
    page = environment.get_template("page.html").render(
        results=results, truths=truths, scores_line=scores_line
    )
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path
