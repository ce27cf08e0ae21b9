"""The sweep of claims: what is tried, what counts as moved, and the page that it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.subjects.examples import function
from benchmarks.subjects.judging import LIBRARY, RIGHT, WRONG, judged, moved, verdict
from benchmarks.subjects.library import library
from peace_pipeline.symmetry.wiring.types import Wiring


def test_the_sweep_prints_counts_and_writes_a_page(tmp_path: Path) -> None:
    page = tmp_path / "claims.md"
    command = [sys.executable, "benchmarks/claims.py", "--only", "^relu_chain", "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 tried" in done.stdout
    rows = [line.split("|")[2:4] for line in page.read_text().splitlines() if line.startswith("| chains")]
    assert rows == [[" relu chain ", " assumed "], [" relu chain ", " right "]]


def test_a_class_of_transformers_is_built_small_and_its_claims_are_held_against_it() -> None:
    subject = library()["LlamaForCausalLM"]
    module = subject.build()
    assert sum(x.numel() for x in module.parameters()) < 50_000
    assert len(subject.inputs(module)) >= 2, "with a mask too"
    outcome = judged(subject, LIBRARY)
    assert (outcome.verdict, outcome.wiring, outcome.compared) == (RIGHT, "llama", "equivalent")


def test_outputs_that_move_make_a_claim_wrong() -> None:
    before, after = (
        [torch.ones(3, 2), torch.full((3, 2), 100.0)],
        [torch.ones(3, 2), torch.full((3, 2), 101.0)],
    )
    assert moved(after, before) == pytest.approx(0.01)
    assert moved([torch.full((1,), torch.nan)], [torch.ones(1)]) == torch.inf
    certain = Wiring("traced", {}, ())
    about = ("a", LIBRARY, "b")
    assert [verdict(about, certain, far, "", "").verdict for far in (1e-9, 1e-2)] == [RIGHT, WRONG]


def test_inner_states_are_no_part_of_a_function() -> None:
    outputs = {
        "logits": torch.ones(1),
        "past_key_values": torch.zeros(1),
        "encoder_last_hidden_state": torch.zeros(1),
    }
    assert [x.tolist() for x in function(outputs)] == [[1.0]]
    assert len(function({"last_hidden_state": torch.ones(1), "hidden_states": (torch.zeros(1),)})) == 1
