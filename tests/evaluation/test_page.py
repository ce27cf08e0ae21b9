"""Pages: what is marked up, and what is text."""

from __future__ import annotations

import re

import plotly.graph_objects as go
import pytest

from peace_pipeline.evaluation.page import (
    Cell,
    Entry,
    Faults,
    Figure,
    Page,
    Section,
    Table,
    render,
    render_contents,
)


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
    parts = [
        "<script>alert(1)</script> & more",
        table,
        Figure(go.Figure(go.Bar(y=[1, 2])), "one < two"),
        Faults(["a & b"]),
    ]
    sections = [Section("Parts", parts)]
    page = Page("1 < 2", {"networks": "3"}, sections, ["X & Y win"], ["by < hand"], ["small & few"])
    text = render("Title & all", page, "peace report census --write")
    return re.sub(r"<script>(?!alert).*?</script>", "", text, flags=re.DOTALL)


def test_text_is_escaped(html: str) -> None:
    assert html.startswith("<!doctype html>")
    for text in (
        "<h1>Title &amp; all</h1>",
        "1 &lt; 2",
        "&lt;script&gt;alert(1)",
        '<th scope="col" role="columnheader">a &lt; b</th>',
        "a &amp; b",
    ):
        assert text in html
    assert "<script>alert" not in html


def test_tables(html: str) -> None:
    name = 'data-name="both, a &lt; b"'
    first = f'<td role="cell" {name}>0.5<br><small>0.4–0.6</small></td>'
    assert f'<tr role="row" class="lead"><th scope="row" role="rowheader">first</th>{first}</tr>' in html
    filled = f'<td role="cell" {name} class="filled" style="background:rgb(1,2,3)">'
    assert f'{filled}<span class="fail">2 ✗</span></td>' in html
    assert '<th scope="colgroup" colspan="1">both</th>' in html
    assert f'<td role="cell" {name} class="none">–</td>' in html


def test_facts_figures_and_faults(html: str) -> None:
    assert "<dt>networks</dt><dd>3</dd>" in html
    assert 'id="figure-0-2"' in html
    assert '<div role="img" aria-label="one &lt; two">' in html
    assert "<figcaption>one &lt; two</figcaption>" in html
    assert re.search(r'<ul class="fail">\s*<li>a &amp; b</li>', html)


def test_what_is_lost_is_said_first_and_how_to_make_it_again_last(html: str) -> None:
    said = ["X &amp; Y win", "1 &lt; 2", "by &lt; hand", "small &amp; few", "peace report census --write"]
    places = [html.index(text) for text in said]
    assert places == sorted(places)


def test_the_list_of_reports() -> None:
    entry = Entry("census", "Who & where", "2026-11-28T19:00:00+00:00", "3 < 4", ["lost"], {"people": 3.0})
    html = render_contents("Reports", "All", [entry], atlas="atlas.html")
    for text in (
        'href="census/index.html">Who &amp; where',
        "3 &lt; 4",
        "lost",
        "<dd>3</dd>",
        'href="atlas.html"',
    ):
        assert text in html
    assert "atlas.html" not in render_contents("Reports", "All", [entry])
