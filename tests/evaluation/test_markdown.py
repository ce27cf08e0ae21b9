"""Pages as Markdown: what they say, in tables that a reader of Markdown takes for such."""

from __future__ import annotations

import plotly.graph_objects as go
from markdown import markdown

from peace_pipeline.evaluation.markdown import render
from peace_pipeline.evaluation.page import Cell, Faults, Figure, Page, Section, Table

TABLE = Table(
    ["Name", "a | b"],
    [["first", Cell("0.5", note="0.4 – 0.6")], ["second_one", Cell("2", passed=False)]],
    lead="first",
    above=[("both", 1)],
)
PARTS = [
    "<b>no</b> & more",
    TABLE,
    Table(["x"], [["hidden"]], folded="All 7"),
    Figure(go.Figure(), "one < two"),
    Faults(["a * b"]),
]


def test_what_a_page_says_is_there() -> None:
    page = Page(
        "1 < 2",
        {"networks": "3"},
        [Section("Parts", PARTS)],
        ["X wins"],
        ["by `a_b --c`, by_hand"],
        ["small"],
    )
    text = render("Title", page, "peace report census --write")
    assert text.index("Where PEACE does not win") < text.index("1 &lt; 2")
    html = markdown(text, extensions=["tables"])
    assert "<code>peace report census --write</code>" in html
    assert "<th>both, a | b</th>" in html
    assert "<td><strong>first</strong></td>\n<td>0.5 (0.4 – 0.6)</td>" in html
    assert "<td>second_one</td>\n<td>2 ✗</td>" in html
    assert "&lt;b&gt;no&lt;/b&gt; &amp; more" in html
    assert "<em>All 7</em>" in html
    assert "hidden" not in html
    assert "<em>Plot: one &lt; two</em>" in html
    assert "<li>a * b</li>" in html
    assert html.index("<p>by <code>a_b --c</code>, by_hand</p>") < html.index("<li>small</li>")


def test_what_a_page_lacks_leaves_nothing() -> None:
    assert render("Title", Page("All is well.", {}, [])) == "# Title\n\nAll is well.\n"
