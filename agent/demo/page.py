"""One static page that shows what the demo did; needs no server and no script."""

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, select_autoescape

if TYPE_CHECKING:
    from agent.demo.run import DemoResult


def write_page(out: Path, results: "list[DemoResult]") -> Path:
    """Writes `index.html` into the demo's folder and returns its path."""
    from agent.demo.run import truth_lines

    environment = Environment(loader=PackageLoader("agent.demo"), autoescape=select_autoescape())
    page = environment.get_template("page.html").render(
        results=results, truths={result.patient.patient_id: truth_lines(result.patient) for result in results}
    )
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path
