"""Pages: what is marked up, and what is text."""

from __future__ import annotations

import re

import plotly.graph_objects as go
import pytest

from peace_pipeline.evaluation.page import Cell, Faults, Page, Section, Table, render


@pytest.fixture(scope="module")
def html() -> str:
    """A page of every kind of part, without its scripts."""
    table = Table(
        ["Name", "a < b"],
        [
            ["first", Cell("0.5", note="0.4–0.6")],
            ["second", Cell("2", passed=False, fill="rgb(1,2,3)")],
            ["–", "–"],
        ],
        lead="first",
        above=[("both", 1)],
    )
    parts = ["<script>alert(1)</script> & more", table, go.Figure(go.Bar(y=[1, 2])), Faults(["a & b"])]
    page = Page("1 < 2", {"networks": "3"}, [Section("Parts", parts)])
    return re.sub(r"<script>(?!alert).*?</script>", "", render("Title & all", page), flags=re.DOTALL)


def test_text_is_escaped(html: str) -> None:
    assert html.startswith("<!doctype html>")
    for text in (
        "<h1>Title &amp; all</h1>",
        "1 &lt; 2",
        "&lt;script&gt;alert(1)",
        "<th>a &lt; b</th>",
        "a &amp; b",
    ):
        assert text in html
    assert "<script>alert" not in html


def test_tables(html: str) -> None:
    assert '<tr class="lead"><td>first</td><td>0.5<br><small>0.4–0.6</small></td></tr>' in html
    assert '<td class="filled" style="background:rgb(1,2,3)"><span class="fail">2 ✗</span></td>' in html
    assert '<th colspan="1">both</th>' in html
    assert '<td class="none">–</td>' in html


def test_facts_figures_and_faults(html: str) -> None:
    assert "<b>3</b>networks" in html
    assert 'id="figure-0-2"' in html
    assert re.search(r'<ul class="fail">\s*<li>a &amp; b</li>', html)
