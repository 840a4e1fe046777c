"""Settings of Sphinx for `make docs`: the Markdown files as they are, and the API from the docstrings of `sentiment`.

The source folder is the root of the repository, so that a link works on the pages as it does in the files. The README
is the front page.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "Sentiment, the same bits for everyone"
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/api.rst", "*/README.md", "experiments/*.md"]
exclude_patterns = [".*", "build", "exported", "report"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]
napoleon_use_ivar = True  # the fields of a NamedTuple as a list, not as descriptors
autodoc_typehints_format = "short"

html_theme = "furo"
html_title = project
html_copy_source = False

SECTIONS = {
    "Use": ["docs/your-own-text", "docs/models", "docs/add-a-layer-or-architecture", "docs/template", "docs/api"],
    "Trust": ["docs/review", "docs/same-bits", "docs/faults", "checks/README", "SECURITY"],
    "Compare": ["docs/comparison", "docs/performance", "docs/clusters"],
    "Measurements": ["experiments/README", "experiments/comparison", "experiments/mistakes", "benchmarks/README"],
    "Help": ["docs/troubleshooting", "docs/layout", "CONTRIBUTING", "CHANGELOG"],
}
"""The pages in the side bar. A page that is in no section is an error."""


def add_sections(app, docname, source):
    """Add the side bar to the README, which elsewhere would show it as text, and a title to a table without one."""
    if not source[0].startswith("# ") and docname != "docs/api":
        source[0] = f"# Numbers: {docname}\n\n{source[0]}"
    if docname == root_doc:
        for caption, pages in SECTIONS.items():
            source[0] += "\n".join(["\n\n```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"])


def write_index(app, exception):
    """Write ``index.html``, which leads to the README."""
    if exception is None:
        (Path(app.outdir) / "index.html").write_text('<meta http-equiv="refresh" content="0; url=README.html">\n')


def setup(app):
    """Register both functions."""
    app.connect("source-read", add_sections)
    app.connect("build-finished", write_index)
