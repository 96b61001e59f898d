"""Tables and sections as docutils nodes: what the reference's directives put together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

Row = Sequence[str]
"""A cell is plain text, in which `single` or ``double`` backticks mark code."""

_CODE = re.compile(r"``(.+?)``|`(.+?)`", re.DOTALL)
_SECTION_OF_DOCSTRING = re.compile(r"\n(Args|Attributes|Returns|Raises):\n")


def prose(text: str) -> list[nodes.Node]:
    """Text with its code marked as such."""
    found: list[nodes.Node] = []
    end = 0
    for match in _CODE.finditer(text):
        if match.start() > end:
            found.append(nodes.Text(text[end : match.start()]))
        code = match[1] or match[2]
        found.append(nodes.literal(code, code))
        end = match.end()
    if text[end:]:
        found.append(nodes.Text(text[end:]))
    return found


def table(headings: Row, rows: Iterable[Row], anchors: str | None = None) -> nodes.table:
    """A table; with ``anchors``, each row has a link target: that word and its first cell."""
    made = nodes.table(classes=["reference-table"])
    group = nodes.tgroup(cols=len(headings))
    made += group
    group.extend(nodes.colspec(colwidth=1) for _ in headings)
    group += nodes.thead("", _row(headings))
    body = nodes.tbody()
    group += body
    for row in rows:
        line = _row(row)
        if anchors is not None:
            line["ids"].append(nodes.make_id(f"{anchors} {row[0]}"))
        body += line
    return made


def _row(cells: Row) -> nodes.row:
    made = nodes.row()
    for cell in cells:
        made += nodes.entry("", nodes.paragraph("", "", *prose(cell)))
    return made


def lead(docstring: str) -> str:
    """A docstring without its sections of arguments, attributes and errors."""
    return _SECTION_OF_DOCSTRING.split(f"{docstring}\n", maxsplit=1)[0].strip()


def described(docstring: str) -> dict[str, str]:
    """What a docstring's ``Args:`` or ``Attributes:`` say of each name."""
    found: dict[str, str] = {}
    parts = _SECTION_OF_DOCSTRING.split(f"\n{docstring}\n")
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if heading not in ("Args", "Attributes"):
            continue
        entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n     +.*)*)", body, re.MULTILINE)
        for names, text in entries:
            for name in names.split(", "):
                found[name] = " ".join(text.split())
    return found


class ReferenceDirective(SphinxDirective):
    """A directive that makes sections."""

    def section(self, title: str, content: Iterable[nodes.Node]) -> nodes.section:
        """A section that the page's table of contents lists, its title set as code."""
        made = nodes.section(names=[nodes.fully_normalize_name(title)])
        made += nodes.title("", "", nodes.literal(title, title))
        made.extend(content)
        self.state.document.note_implicit_target(made)
        return made

    def paragraphs(self, docstring: str) -> list[nodes.Node]:
        """A docstring's text; Markdown reads its lists and its code as they are meant."""
        parts = _CODE.split(docstring)[:: _CODE.groups + 1]
        spans = [match[0] for match in _CODE.finditer(docstring)] + [""]
        plain = [part.replace("<", r"\<") for part in parts]  # in Markdown, < begins HTML
        return self.parse_text_to_nodes("".join(map("".join, zip(plain, spans, strict=True))))
