"""The atlas of a small lake, as it is made and as it is used: in a browser, at both widths."""

from __future__ import annotations

import math
import re
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from peace_pipeline.atlas.export import fitted, is_current, render
from peace_pipeline.atlas.layout import lay_out
from peace_pipeline.atlas.lineage import Derived, Lineage
from peace_pipeline.atlas.neighbours import nearest as nearest_of
from peace_pipeline.atlas.points import Points
from peace_pipeline.index.lookup import find
from peace_pipeline.lake import Lake
from tests.browser import WIDTHS, browser, opened, sync_api
from tests.pipeline import NETWORKS, Workplace, own, place

__all__ = ["browser", "own", "place"]


@pytest.fixture(scope="module")
def mapped(place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A copy of the lake with its atlas, made as a user makes it."""
    copy = place.copy(tmp_path_factory.mktemp("atlas") / "place")
    answer = copy.peace("atlas", "--json")
    assert answer.json == {"path": str(copy.lake.atlas)}
    return copy


def point(page: sync_api.Page, name: str) -> tuple[float, float]:
    """Where a network is in the window."""
    box = page.locator("#points").bounding_box()
    left, top = page.evaluate("name => atlas.chart.screen(atlas.data.place.get(name))", name)
    return box["x"] + left, box["y"] + top


def nearest(page: sync_api.Page) -> list[tuple[str, float]]:
    """The nearest networks as the page lists them."""
    rows = page.locator("#chosen ol li").all()
    return [(row.locator("span").inner_text(), float(row.locator("b").inner_text())) for row in rows]


def in_index(lake: Lake, name: str) -> list[tuple[str, float]]:
    """The nearest networks as the index finds them."""
    return [(hit.model_id, hit.similarity) for hit in find(lake, name, k=10)]


def assert_alike(found: list[tuple[str, float]], wanted: list[tuple[str, float]]) -> None:
    """Equal but for the order of networks that are equally near."""
    assert [cosine for _, cosine in found] == pytest.approx([cosine for _, cosine in wanted], abs=1e-3)
    last = wanted[-1][1] + 1e-3
    assert {name for name, cosine in wanted if cosine > last} <= {name for name, _ in found}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_network_is_chosen_and_its_nearest_are_those_of_the_index(
    mapped: Workplace, browser: sync_api.Browser, width: int, scheme: str
) -> None:
    with opened(browser, mapped.lake.atlas, width, scheme) as page:
        page.get_by_text(f"{NETWORKS} networks", exact=True).wait_for()
        page.mouse.click(*point(page, "directory:zoo/n003"))
        chosen = page.locator("#chosen h2").inner_text()
        assert chosen in mapped.model_ids()
        assert_alike(nearest(page), in_index(mapped.lake, chosen))
        second = page.locator("#chosen ol li").nth(1)
        name = second.locator("span").inner_text()
        second.get_by_role("button").click()
        assert page.locator("#chosen h2").inner_text() == name
        assert_alike(nearest(page), in_index(mapped.lake, name))
        page.keyboard.press("Escape")
        assert page.locator("#chosen").is_hidden()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_network_is_found_by_its_name_with_keys_alone(
    mapped: Workplace, browser: sync_api.Browser, width: int
) -> None:
    with opened(browser, mapped.lake.atlas, width) as page:
        page.get_by_text(f"{NETWORKS} networks", exact=True).wait_for()
        search = page.get_by_label("Find a network")
        search.press_sequentially("ZOO n02")
        options = page.locator("#found [role=option]").all_inner_texts()
        assert options == [f"directory:zoo/n02{last}" for last in range(10)]
        for key in ("ArrowDown", "ArrowDown", "Enter"):
            search.press(key)
        assert page.locator("#chosen h2").inner_text() == "directory:zoo/n021"
        assert "n021" in page.url
        search.fill("nobody")
        assert "nothing of that name" in page.locator("#found").inner_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_colours_and_filters(mapped: Workplace, browser: sync_api.Browser, width: int) -> None:
    color = "i => Array.from(atlas.chart.colors.slice(4 * i, 4 * i + 4))"
    place_of = "name => atlas.data.place.get(name)"
    with opened(browser, mapped.lake.atlas, width) as page:
        page.get_by_text(f"{NETWORKS} networks", exact=True).wait_for()
        page.get_by_label("Colour and filter by").select_option("Dataset")
        cat = page.locator("#legend").get_by_role("button", name="cat")
        assert cat.inner_text().split() == ["cat", str(NETWORKS // 2)]
        cats, dogs = (page.evaluate(place_of, f"directory:zoo/n00{n}") for n in (0, 1))
        swatch = cat.locator("i").evaluate("element => getComputedStyle(element).backgroundColor")
        assert re.findall(r"\d+", swatch) == [str(each) for each in page.evaluate(color, cats)[:3]]
        assert page.evaluate(color, cats) != page.evaluate(color, dogs)
        cat.click()
        assert page.get_by_role("status").inner_text() == f"{NETWORKS // 2} of {NETWORKS} networks"
        assert [page.evaluate(color, each)[3] for each in (cats, dogs)] == [255, 0]
        page.get_by_role("button", name="Remove the filter Dataset: cat").click()
        assert page.get_by_role("status").inner_text() == f"{NETWORKS} networks"
        assert page.evaluate(color, dogs)[3] == 255


def test_the_map_is_drawn_and_moved_by_keys(mapped: Workplace, browser: sync_api.Browser) -> None:
    with opened(browser, mapped.lake.atlas, 1280) as page:
        page.get_by_text(f"{NETWORKS} networks", exact=True).wait_for()
        canvas = page.locator("#points")
        canvas.focus()
        before = page.evaluate("atlas.chart.view")
        for key in ("+", "ArrowLeft"):
            canvas.press(key)
        moved = page.evaluate("atlas.chart.view")
        assert moved["scale"] == pytest.approx(1.5 * before["scale"])
        assert moved["x"] < before["x"]
        canvas.press("0")
        assert page.evaluate("atlas.chart.view") == before
        page.mouse.move(*point(page, "directory:zoo/n005"))
        card = page.get_by_role("tooltip").inner_text().split()
        assert {"mlp", "tabular-classification"} <= set(card)
        drawn = """() => { const { gl, points } = atlas.chart; atlas.chart.paintPoints(atlas.chart.count);
            const pixels = new Uint8Array(4 * points.width * points.height);
            gl.readPixels(0, 0, points.width, points.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
            return pixels.filter((value, at) => at % 4 == 3 && value > 0).length }"""
        assert page.evaluate(drawn) > 10 * NETWORKS
        canvas.press("Enter")
        assert page.locator("#chosen h2").inner_text() in mapped.model_ids()


def test_it_is_drawn_anew_where_the_index_changed(mapped: Workplace) -> None:
    lake, before = mapped.lake, mapped.lake.atlas.read_bytes()
    written = lake.atlas.stat().st_mtime_ns
    assert is_current(lake)
    mapped.peace("atlas")
    assert lake.atlas.stat().st_mtime_ns == written, "nothing to do"
    mapped.peace("atlas", "--write")
    assert lake.atlas.read_bytes() == before, "the same lake gives the same page"


def test_the_list_of_reports_links_it(mapped: Workplace, browser: sync_api.Browser) -> None:
    with opened(browser, mapped.lake.reports / "index.html", 390) as page:
        page.get_by_role("link", name="Atlas").click()
        page.get_by_text(f"{NETWORKS} networks", exact=True).wait_for()


def test_of_a_larger_index_a_sample_is_shown(
    mapped: Workplace, browser: sync_api.Browser, tmp_path: Path
) -> None:
    few = mapped.copy(tmp_path / "few")
    few.peace("atlas", "--most", "9")
    with opened(browser, few.lake.atlas, 1280) as page:
        page.get_by_text(f"9 of the {NETWORKS} networks, drawn at random").wait_for()
    assert is_current(few.lake, most=9)
    assert not is_current(few.lake), "another map is asked for"
    lancedb.connect(few.lake.index).open_table("models").delete("model_id = 'directory:zoo/n003'")
    assert not is_current(few.lake, most=9), "the index changed"


def test_a_lake_without_an_index(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    without_a_lake = place.peace("atlas", code=1).err
    place.lake.root.mkdir(exist_ok=True)
    without_an_index = place.peace("atlas", code=1).err
    assert "no lake in" in without_a_lake
    assert "no index in" in without_an_index
    assert (without_a_lake.count("\n"), without_an_index.count("\n")) == (1, 1)


HOSTILE = "</script><img src=x onerror=alert(1)>"


def test_names_are_text_whatever_is_in_them(browser: sync_api.Browser, tmp_path: Path) -> None:
    """Ids, tasks and datasets are written by anybody."""
    names = [HOSTILE, "#%", "\u2028"]
    metrics = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))
    said = [("accuracy", value) for value in (93.0, 1e30, 0.5)]
    known = {
        "model_id": names, "task": names, "architecture": names, "library": names, "source": names,
        "datasets": [[name] for name in names], "parameters": [1, None, 3], "run_by": [None, None, "x"],
        "metrics": pa.array([[dict(zip(("name", "value"), each, strict=True))] for each in said], metrics),
        "encoder_version": [HOSTILE] * 3,
    }  # fmt: skip
    vectors = np.eye(3, dtype=np.float32)
    alone = np.zeros(3, np.uint32)
    lineage = Lineage([Derived(1, HOSTILE, HOSTILE)], alone, alone)
    html = render(Points(pa.table(known), vectors, 3), vectors[:, :2], nearest_of(vectors, 10), lineage, 0)
    page_path = tmp_path / "atlas.html"
    page_path.write_text(html, encoding="utf-8")
    with opened(browser, page_path, 1280) as page:
        page.get_by_text("3 networks", exact=True).wait_for()
        search = page.get_by_label("Find a network")
        search.fill("#%")
        search.press("Enter")
        assert page.locator("#chosen h2").inner_text() == "#%"
        assert HOSTILE in page.locator("#chosen ul").inner_text()
        assert page.locator("img").count() == 0
        accuracies = page.evaluate("Array.from(atlas.data.numbers[0].values, String)")
        assert [float(each) for each in accuracies] == pytest.approx([0.93, math.nan, 0.5], nan_ok=True)


def test_copies_say_how_many_they_are(browser: sync_api.Browser, tmp_path: Path) -> None:
    names = [f"zoo/{name}" for name in ("of-b", "b", "a")]
    vectors = np.eye(2, dtype=np.float32)[[0, 0, 1]]
    nothing = [None] * 3
    known = pa.table(
        {"model_id": names, "encoder_version": ["e"] * 3, "metrics": [[]] * 3, "datasets": [[]] * 3}
        | {"parameters": [1, 1, 2]}
        | dict.fromkeys(("task", "architecture", "library", "source", "run_by"), nothing)
    )
    neighbours, alone = nearest_of(vectors, 10), np.zeros(3, np.uint32)
    places = lay_out(vectors, neighbours, seed=0)
    html = render(Points(known, vectors, 3), places, neighbours, Lineage([], alone, alone), 0)
    (page_path := tmp_path / "atlas.html").write_text(html, encoding="utf-8")
    with opened(browser, page_path, 1280) as page:
        page.get_by_text("3 networks", exact=True).wait_for()
        page.mouse.move(*point(page, "zoo/of-b"))
        assert "2 networks of the same vector" in page.get_by_role("tooltip").inner_text()
        page.mouse.move(*point(page, "zoo/a"))
        assert "same vector" not in page.get_by_role("tooltip").inner_text()
        search = page.get_by_label("Find a network")
        search.fill("b")
        assert page.locator("#found [role=option]").all_inner_texts() == ["zoo/b", "zoo/of-b"]
        search.press("Enter")
        assert "2 networks of the same vector" in page.locator("#chosen dl").inner_text()


def test_places_fill_a_square_and_keep_their_proportions() -> None:
    places = fitted(np.array([[0, 0], [4, 1], [2, 0.5]], np.float32)).astype(int)
    assert places[:, 0].tolist() == [0, 65535, 32768]
    assert places[1, 1] - places[0, 1] == pytest.approx(65535 / 4, abs=1)
    assert fitted(np.zeros((1, 2), np.float32)).shape == (1, 2)
