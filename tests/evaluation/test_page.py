"""Pages: what is marked up, and what is text."""

from __future__ import annotations

import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from peace_pipeline.evaluation.look import PALETTE, styled
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
from tests.browser import WIDTHS, browser, opened, sync_api

__all__ = ["browser"]
COLORS = {"ours": "rgb(11, 110, 143)", "theirs": "rgb(217, 130, 43)"}


def _bars() -> go.Figure:
    bars = [
        go.Bar(y=[1, 2], name=name, marker={"color": color})
        for name, color in zip(COLORS, PALETTE, strict=False)
    ]
    figure = go.Figure(bars).update_xaxes(
        title="a title that is as long as titles of axes are, and no shorter"
    )
    return styled(figure.add_hline(1.5), 300)


@pytest.fixture(scope="module")
def whole() -> str:
    """A page of every kind of part."""
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
        "<script>alert(1)</script> & more, `by <hand>`",
        table,
        Figure(_bars(), "one < two"),
        Faults(["a & b"]),
    ]
    sections = [Section("Parts", parts)]
    page = Page("1 < 2", {"networks": "3"}, sections, ["X & Y win"], ["by < hand"], ["small & few"])
    return render("Title & all", page, "peace report census --write")


@pytest.fixture(scope="module")
def html(whole: str) -> str:
    """The page without its scripts."""
    return re.sub(r"<script>(?!alert).*?</script>", "", whole, flags=re.DOTALL)


def test_text_is_escaped(html: str) -> None:
    assert html.startswith("<!doctype html>")
    for text in (
        "<h1>Title &amp; all</h1>",
        "1 &lt; 2",
        "&lt;script&gt;alert(1)",
        "<code>by &lt;hand&gt;</code>",
        '<th scope="col" role="columnheader">a &lt; b</th>',
        "a &amp; b",
    ):
        assert text in html
    assert "<script>alert" not in html


def test_tables(html: str) -> None:
    name = 'data-name="both, a &lt; b"'
    first = f'<td role="cell" {name}>0.5<br><small>0.4–0.6</small></td>'
    assert f'<tr role="row" class="lead"><th scope="row" role="rowheader">first</th>{first}</tr>' in html
    filled = f'<td role="cell" {name} class="filled" style="--fill:rgb(1,2,3)">'
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


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_every_cell_is_in_sight_and_legends_have_their_colours(
    whole: str, browser: sync_api.Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    path = tmp_path / "index.html"
    path.write_text(whole, encoding="utf-8")
    with opened(browser, path, width, scheme) as page:
        for cell in page.get_by_role("cell").all():
            box = cell.bounding_box()
            assert box is None or box["x"] + box["width"] <= width
        row = page.get_by_role("row", name="first")
        assert row.get_by_role("rowheader").inner_text() == "first"
        assert row.get_by_role("cell").inner_text().split() == ["0.5", "0.4–0.6"]
        assert page.get_by_role("img", name="one < two").is_visible()
        legend = page.locator(".legend .traces")
        drawn = "element => getComputedStyle(element.querySelector('.legendundefined, path')).fill"
        shown = {each.locator("text").text_content(): each.evaluate(drawn) for each in legend.all()}
        bars = page.locator(".bars path").evaluate_all(
            "all => all.map((each) => getComputedStyle(each).fill)"
        )
        assert bars == [color for color in shown.values() for _ in range(2)]
        if scheme == "light":
            assert shown == COLORS
        else:
            assert all(_light(shown[name]) > _light(color) for name, color in COLORS.items())
        ink, ground = (
            page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor")
        )
        assert _light(ink) > _light(ground) if scheme == "dark" else _light(ink) < _light(ground)
        plot, caption = (
            page.locator(each).bounding_box() for each in (".js-plotly-plot .main-svg >> nth=0", "figcaption")
        )
        assert plot["y"] + plot["height"] <= caption["y"]
        title, line = page.locator(".xtitle"), page.locator(".shapelayer path")
        box = title.bounding_box()
        assert 0 <= box["x"] <= width - box["width"]
        muted = page.evaluate("getComputedStyle(document.querySelector('small')).color")
        stroke = line.evaluate("element => getComputedStyle(element).stroke")
        assert (stroke == muted) == (scheme == "dark")
        text = page.locator(".xtick text").first.evaluate("element => getComputedStyle(element).fill")
        assert text == ink, "figures have the colours of the page"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the content"


def _light(color: str) -> int:
    return sum(int(number) for number in re.findall(r"\d+", color)[:3])
