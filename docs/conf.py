"""How the site is built: ``make docs`` writes it to build/docs."""

import re
import sys
from pathlib import Path

from sphinx.ext.napoleon import GoogleDocstring

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

project = "hearsay"
author = "The hearsay authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "command_reference",
    "experiment_reference",
    "messages",
]
exclude_patterns = ["_ext"]

html_theme = "furo"
html_title = "hearsay"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
# Formulas are typeset by MathJax, which a browser loads; nothing is fetched while building.
mathjax3_config = {"chtml": {"scale": 0.95}}

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "code"  # in docstrings, `single backticks` are code
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_use_type_comments = False
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

nitpicky = True
nitpick_ignore_regex = [
    # Other libraries' names: their sites are not asked while building.
    ("py:.*", r"(annotated_types|collections|networkx|nn|np|numpy|nx|pathlib|pydantic)\..*"),
    ("py:.*", r"(scipy|torch|types|typing)\..*"),
    ("py:class", r"Path|FloatArray|csr_array|Weights"),
    # Named in signatures, and no interface.
    ("py:.*", r"peer\.(experiment\.(schema|parts)|gan\.(arena|augment)|loggers\.logger)\..*"),
    ("py:.*", r"peer\.gan\.objectives\..*"),
    ("py:.*", r"peer\.(state\.peer_state\..*|gan\.conditional|compute\.guard)"),
    ("py:func", r"one_peer_exponential|random_matching"),
    ("py:func", r"sim\.records\.run_metrics\..*"),
    ("py:.*", r"sim\.runs\.(checkpoints|origin)\..*|Interrupted"),
]

# A property's docstring says what it is; napoleon would read "n_k: how many" as a type.
GoogleDocstring._parse_attribute_docstring = GoogleDocstring._consume_to_end


def escape_bars(app, what, name, obj, options, lines):
    """|x| is a norm in docstrings, and a substitution in reStructuredText."""
    for place, line in enumerate(lines):
        parts = re.split(r"(``.*?``|`.*?`)", line)
        parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
        lines[place] = "".join(parts)


def setup(app):
    """Docstrings are changed before napoleon reads them."""
    app.connect("autodoc-process-docstring", escape_bars, priority=100)
