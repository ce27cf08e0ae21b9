"""The report on what was left out: two architectures on one task, trained briefly."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from peace_pipeline.evaluation.generalization.results import METHODS
from peace_pipeline.evaluation.generalization.strangers import Meeting
from peace_pipeline.evaluation.generalization.study import QUICK
from peace_pipeline.evaluation.generalization.units import units
from peace_pipeline.evaluation.population import Listed
from peace_pipeline.evaluation.reports import NothingToReport, Written, all_reports
from peace_pipeline.evaluation.retraining import Judge
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import TEST, listings
from tests.browser import WIDTHS, browser, opened, sync_api
from tests.evaluation.conftest import listed, networks_of

__all__ = ["browser"]

GENERALIZATION = all_reports()["generalization"]


@pytest.fixture(scope="module")
def home(trained: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(shutil.copytree(trained.root, tmp_path_factory.mktemp("generalization") / "home"))


@pytest.fixture(scope="module")
def report(home: Lake) -> Written:
    return GENERALIZATION.write(home, **QUICK)


def test_each_architecture_is_left_out(report: Written, home: Lake) -> None:
    asked = {each.architecture for each in listings(home) if each.split == TEST and each.task}
    named = {name.split("/")[1] for name in report.figures if name.startswith("architecture/")} - {"mean"}
    assert named <= asked
    assert named
    for name in named:
        for method in METHODS:
            low, mean, high = (
                report.figures[f"architecture/{name}/{method}{end}"] for end in ("_low", "", "_high")
            )
            assert 0 <= low <= mean <= high <= 1


def test_what_is_left_out_is_not_trained_on(report: Written, home: Lake) -> None:
    trainings = [
        json.loads(path.read_text())["training"]
        for path in (home.root / "studies" / "encoders").glob("*/encoders/*/config.json")
    ]
    assert len({json.dumps(each["pairs"]) for each in trainings}) == len(trainings) > 1
    for each in trainings:
        assert not set(each["pairs"]["without"]) & set(each["architectures"])


def judge_of(networks: list[Listed]) -> Judge:
    return Judge(networks, 0)


def test_units_are_what_some_networks_are_and_others_are_not() -> None:
    networks = [
        listed(network, architecture=architecture, task=f"task-{place % 2}")
        for architecture in ("mlp", "cnn")
        for place, network in enumerate(networks_of(architecture, 4))
    ]
    found = units(judge_of(networks))
    assert [(unit.kind, unit.name, unit.same_as) for unit in found] == [
        ("architecture", "cnn", ""),
        ("architecture", "mlp", ""),
        ("task", "task-0", ""),
        ("task", "task-1", ""),
        ("width", "wider than 8 neurons", "mlp"),
    ], "all are of one depth"
    for unit, of in found.items():
        named = {unit.name, unit.same_as}
        assert of.tolist() == [bool(named & {one.listing.architecture, one.listing.task}) for one in networks]
    wider = next(unit for unit in found if unit.kind == "width").recipe(3).pairs
    assert (wider.widest, wider.without) == (8, [""])
    assert list(units(judge_of(networks[:4]))) == [unit for unit in found if unit.kind == "task"], (
        "one architecture alone can't be left out"
    )


def test_strangers_find_those_of_their_origin() -> None:
    strangers = [
        listed(replace(network, key=f"packages:{origin}/{network.key}"), task=None)
        for origin, architecture in (("one", "mlp"), ("other", "cnn"))
        for network in networks_of(architecture, 3)
    ]
    known = [listed(network) for network in networks_of("cnn", 2, seed=1)]
    origins = [each.listing.model_id.partition("/")[0] for each in strangers] + [""] * len(known)
    meeting = Meeting(judge_of([*strangers, *known]), np.array(origins))
    told = meeting.told({"shapes": [meeting.of_baseline("shapes")]})
    assert (told.networks, told.ran) == (6, 0)
    assert {origin: of["shapes"][0].queries.tolist() for origin, of in told.found.items()} == {
        "packages:one": [0, 1, 2],
        "packages:other": [3, 4, 5],
    }
    assert told.found["packages:one"]["shapes"][0].precision.tolist() == [1, 1, 1]
    assert told.found["packages:other"]["shapes"][0].precision.mean() < 1, "others have its shape, too"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_as_it_is_read(report: Written, browser: sync_api.Browser, width: int) -> None:
    with opened(browser, report.path, width) as page:
        said = page.locator("main").inner_text()
    for text in (
        "Architectures left out",
        "Raw responses",
        "Trained on it",
        "answers alone",
        "the same networks as",
    ):
        assert text in said


def test_a_lake_without_tasks_is_nothing_to_report(lake: Lake) -> None:
    with pytest.raises(NothingToReport):
        GENERALIZATION.write(lake, **QUICK)
