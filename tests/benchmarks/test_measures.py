"""Every measure of the benchmark of encoders, on a tiny lake of random networks whose responses tell their tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import accuracy, function, negatives, real, retrieval, speed
from benchmarks.peers.methods import Training
from benchmarks.peers.tables import Table
from benchmarks.peers.zoo import Zoo


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """Training that is over at once."""
    return Training(tmp_path_factory.mktemp("outputs"), seeds=2, budget=0.2, most=0.4)


def by_title(tables: list[Table]) -> dict[str, Table]:
    return {table.title: table for table in tables}


def test_retrieval_hears_tasks_across_architectures_and_leads_are_paired(
    zoo: Zoo, training: Training
) -> None:
    tables = by_title(retrieval.measure(zoo, replace(training, elsewhere=zoo), ["cats"]))
    whole = tables["Whole zoo, final networks"].cells
    assert {"learned probes, trained elsewhere", "flattened weights, autoencoder"} <= set(whole)
    heard, chance = (whole[name]["other architectures"].mean for name in ("raw responses, softmax", "Chance"))
    assert heard > 0.9 > 0.75 > chance
    held_out = tables["Held-out runs, final networks"]
    wanted = {"PEACE", "Layer statistics + LDA", "nfn-HNP, equal time", "learned probes, converged"}
    assert wanted <= set(held_out.cells)
    assert len(held_out.cells["nfn-NP, converged"]["all other runs"].seeds) == 2
    found = [held_out.cells[name]["all other runs"].mean for name in ("PEACE", "Chance")]
    lead = held_out.leads["Chance"]["all other runs"]
    assert lead.mean == pytest.approx(found[0] - found[1])
    assert lead.low <= lead.mean <= lead.high
    assert "left out" in tables["Whole zoo, by data, all other runs"].cells["PEACE"]


def test_weights_alone_are_held_against_what_reads_weights_alone(zoo: Zoo) -> None:
    both = Zoo(zoo.lake, zoo.version, zoo.members, zoo.records)
    vectors = zoo.senses["vector"]
    both.__dict__["senses"] = {"vector": vectors, "weights": vectors[::-1].copy()}
    tables = by_title(retrieval.measure(both, Training(Path(), peers=())))
    table = tables["Whole zoo, final networks, by weights alone"]
    assert {"PEACE, weights alone", "Flattened weights", "Layer statistics"} <= set(table.cells)
    assert not {"PEACE", "raw responses, softmax"} & set(table.cells)
    found = [
        table.cells[name]["same architecture"].mean for name in ("PEACE, weights alone", "Layer statistics")
    ]
    assert table.leads["Layer statistics"]["same architecture"].mean == pytest.approx(found[0] - found[1])


def test_peers_are_trained_once(zoo: Zoo, training: Training) -> None:
    retrieval.measure(zoo, training)
    before = {path: path.stat().st_mtime_ns for path in training.cache.iterdir()}
    retrieval.measure(zoo, training)
    assert {path: path.stat().st_mtime_ns for path in training.cache.iterdir()} == before


def test_accuracy_is_predicted_in_each_cell_below_its_ceiling(zoo: Zoo, training: Training) -> None:
    table, cells, costs = accuracy.measure(zoo, training)
    assert costs.cells["nfn-HNP"]["steps"].mean >= 1
    assert {"PEACE", "Hyperparameters alone", "learned probes, converged"} <= set(table.cells)
    assert -1 <= table.cells["PEACE"]["all cells"].mean <= table.cells["tie ceiling"]["all cells"].mean <= 1
    assert table.cells["PEACE"]["all cells"].count == len(cells.cells)


def test_what_tells_accuracy_predicts_it_in_runs_never_seen(zoo: Zoo) -> None:
    truth = zoo.attributes.accuracy
    random = np.random.default_rng(0).standard_normal((len(zoo), 3))
    told = accuracy.regression(zoo, np.column_stack([truth, random]), [[np.arange(len(zoo))]])
    test = zoo.splits == "test"
    assert np.corrcoef(told[test], truth[test])[0, 1] > 0.9


def test_twins_with_other_weights_are_no_further_than_seeds_at_random(zoo: Zoo) -> None:
    tables = negatives.measure(zoo, Training(Path(), peers=()))
    own = by_title(tables)["Hard negatives, twins of its own seed"].cells
    assert 0 <= own["PEACE"]["backdoor"].mean <= 1
    assert own["Chance"]["backdoor"].mean == 0.5
    assert own["PEACE"]["shuffled"].count == 0, "there are none"


def test_members_of_an_ensemble_are_held_against_decoys_of_their_statistics(zoo: Zoo) -> None:
    decoys, others, run = real.measure(zoo)
    assert decoys.cells["Layer statistics"]["mtsplice_deep"].mean == 0
    assert decoys.cells["PEACE, weights alone"]["mtsplice_deep"].count == 12
    assert others.cells["PEACE"]["mtsplice_deep"].count == 12
    assert (run.cells["PEACE"]["run"].mean, run.cells["PEACE"]["run"].count) == (1, 5)


def test_disguised_copies_are_found_by_the_canonical_form_and_not_as_they_are(zoo: Zoo) -> None:
    recall, files, movements = function.measure(zoo, files=6)
    assert files.cells["PEACE"]["recall@1"].mean == 1
    assert files.cells["PEACE"]["moved by, largest"].mean < 1e-3
    assert recall.cells["PEACE, weights alone"]["all"].mean == 1
    assert recall.cells["Flattened weights"]["all"].mean < 0.5
    assert (
        movements.cells["mlp"]["symmetries, float64"].mean < 1e-5 < movements.cells["mlp"]["100% broken"].mean
    )


def test_speed_is_of_the_published_network(zoo: Zoo) -> None:
    assert sum(tensor.numel() for tensor in speed.small_cnns(1).tensors.values()) == 4970
    beside, growth, running = speed.measure(zoo, batch=4, times=2, sizes=(1000, 4000), networks=5)
    assert 0 < running.cells["PEACE"]["share of running"].mean < 1
    assert beside.cells["ratio"]["forward"].mean > 0
    assert list(growth.cells) == ["1,000 weights", "4,000 weights"]
