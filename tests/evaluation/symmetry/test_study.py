"""Every action on every family leaves the embedding where it is, and the report says so, or that it doesn't."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from peace_pipeline.encoder import store
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.invariance import MOVED_AT_LEAST, NOISE_AT_MOST, Movements, by_weights
from peace_pipeline.evaluation.reports import Written, all_reports
from peace_pipeline.evaluation.symmetry.study import family_sheets, structured
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.form.folding import folded
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.testing import TOLERANCE
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.zoo.card import read_config
from tests.browser import WIDTHS, browser, opened, sync_api
from tests.specimens import FAMILIES
from tests.specimens.sheets import sheet

__all__ = ["browser"]
SYMMETRY = all_reports()["symmetry"]
ALL_SHEETS = {each.name: each for each in family_sheets()}
RESTLESS = {
    "mlp_linear": 0.25,
    "efficientnet_hf": 0.18,
    "llama": 0.25,
    "mistral": 0.25,
    "qwen2": 0.3,
    "qwen3": 0.25,
    "llama_lora": 0.32,
    "llama_lora_adapter": 0.12,
    "bert_lora_adapter": 0.14,
}
"""Families whose random networks weight noise of 1% moves further before training than it should: at most how far."""


def test_every_family_has_its_sheet() -> None:
    assert ALL_SHEETS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_sheets_say_what_the_files_hold(name: str, tmp_path: Path) -> None:
    shipped = ALL_SHEETS[name]
    assert {"config": shipped.config, "tensors": shipped.tensors} == sheet(name, tmp_path), (
        "rewrite the sheets: python -m tests.specimens.sheets"
    )
    with open_checkpoint(weight_files(tmp_path)) as checkpoint:
        opened = OpenNetwork.of(checkpoint, read_config(tmp_path))
        network, wiring = opened.logical, opened.wiring
    assert shipped.wiring == wiring
    assert shipped.logical == network.tensors


@pytest.mark.parametrize("name", FAMILIES)
def test_no_action_moves_the_embedding(name: str) -> None:
    torch.manual_seed(1)
    movements = Movements(by_weights(Encoder()), [ALL_SHEETS[name].draw(4, 0)], torch.float64, 0)
    found = movements.still()
    assert {"permutation", "all"} <= found.keys()
    assert max(found.values()) <= TOLERANCE[torch.float64], found


@pytest.mark.parametrize("name", FAMILIES)
def test_broken_twins_move_the_embedding_before_training_and_noise_hardly_does(name: str) -> None:
    torch.manual_seed(1)
    movements = Movements(by_weights(Encoder()), [ALL_SHEETS[name].draw(32, 0)], torch.float32, 0)
    assert movements.broken(1.0) >= MOVED_AT_LEAST
    assert movements.noise() <= RESTLESS.get(name, NOISE_AT_MOST)


def test_norms_are_folded_in_as_the_lake_does() -> None:
    stack = ALL_SHEETS["vgg_bn"].draw(3, 0)
    once = folded(stack)
    assert once.wiring == stack.wiring.folded
    assert {tuple(value.shape[1:]) for name, value in once.tensors.items() if name == "0.weight"} == {
        (6, 3, 3, 3)
    }
    assert not any("running_var" in name for name in once.tensors)
    assert folded(once) is once


def test_random_networks_are_like_trained_ones_in_what_must_be_positive() -> None:
    drawn = ALL_SHEETS["vgg_bn"].draw(32, 0)
    assert all(bool((value >= 0.5).all()) for name, value in drawn.tensors.items() if "running_var" in name)
    again, other = ALL_SHEETS["vgg_bn"].draw(32, 0), ALL_SHEETS["vgg_bn"].draw(32, 1)
    assert all(torch.equal(value, again.tensors[name]) for name, value in drawn.tensors.items())
    assert not any(torch.equal(value, other.tensors[name]) for name, value in drawn.tensors.items())


def test_structured_weights_differ_in_structure() -> None:
    weight = structured((64, 30, 20), torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(weight)
    decay = values[:, 0] / values[:, 5]
    assert decay.min() < 2.5 < 10 < decay.max()
    zeros = (weight == 0).double().mean((1, 2))
    assert zeros.min() < 0.05 < 0.4 < zeros.max()
    peak = weight.abs().amax((1, 2)) / weight.square().mean((1, 2)).sqrt()
    assert peak.min() < 6 < 12 < peak.max()
    size = weight.square().mean((1, 2)).sqrt() * 20**0.5
    assert size.min() < 0.5 < 2 < size.max()
    assert 10**-0.5 <= size.min() < size.max() <= 10**0.5


def test_structured_kernels_are_smooth_in_part() -> None:
    kernels = structured((64, 8, 4, 5, 5), torch.Generator().manual_seed(0)).flatten(1, 2)
    beside = (kernels * kernels.roll(1, -1)).mean((1, 2, 3)) / kernels.square().mean((1, 2, 3))
    assert beside.min() < 0.1 < 0.5 < beside.max()


@pytest.fixture(scope="module")
def report(small_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Of an untrained encoder, on three families and the small lake's own networks."""
    torch.manual_seed(0)
    lake = Lake.open(shutil.copytree(small_lake.root, tmp_path_factory.mktemp("symmetry") / "home"))
    store.save(lake, Encoder(), {})
    sheets = [ALL_SHEETS[name] for name in ("mlp_relu", "mlp_leaky_relu", "llama")]
    steps: list[tuple[int, int]] = []
    found = SYMMETRY.write(lake, sheets=sheets, count=8, progress=lambda *step: steps.append(step))
    assert [done for done, _ in steps] == list(range(1, steps[0][1] + 1))
    return found


def test_the_report_has_every_action_of_every_family(report: Written) -> None:
    for row in ("own/mlp", "own/cnn", "families/mlp_relu", "families/mlp_leaky_relu", "families/llama"):
        assert report.figures[f"{row}/permutation"] <= 1e-5
        assert report.figures[f"{row}/scale"] <= 1e-5
        assert 0 < report.figures[f"{row}/broken_0.25"] <= report.figures[f"{row}/broken_1"]
    assert report.figures["families/llama/heads"] <= 1e-5
    assert "families/mlp_relu/heads" not in report.figures


def test_the_page_stands_alone(report: Written) -> None:
    html = re.sub(r"<script.*?</script>", "", report.path.read_text(), flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", html)
    for name in ("llama", "mlp_leaky_relu", "cnn"):
        assert f">{name}</th>" in html


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_in_a_browser(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        row = page.get_by_role("row", name=re.compile("^llama ")).first
        for cell in row.get_by_role("cell").all()[:4] if width > 640 else row.get_by_role("cell").all():
            box = cell.bounding_box()
            assert box["x"] + box["width"] <= width
        name = "Still under symmetries"
        page.get_by_role("link", name=name).click()
        assert page.get_by_role("heading", name=name).is_visible()


def test_a_lake_without_networks(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    store.save(lake, Encoder(), {})
    found = SYMMETRY.write(lake, sheets=[ALL_SHEETS["mlp_relu"]], count=2)
    assert not any(name.startswith("own/") for name in found.figures)
    assert "mlp_relu" in found.path.read_text()
