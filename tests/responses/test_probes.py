"""Probes are functions: every shape samples the same ones."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.sentences import sentences
from peace_pipeline.responses.standard import NUMBERS, PROBES, TEXT, TOKENS, VERSION

PICTURE = InputSpec(NUMBERS, (1, 8, 8))
SAME = [
    InputSpec(NUMBERS, (64,)),
    InputSpec(NUMBERS, (1, 64)),
    InputSpec(NUMBERS, (8, 8), channels_first=False),
]


@pytest.mark.parametrize("spec", SAME, ids=str)
def test_shapes_of_as_many_numbers_get_the_same(spec: InputSpec) -> None:
    found = probes(spec)
    assert found.shape == (PROBES, *spec.shape)
    assert torch.equal(found.flatten(1), probes(PICTURE).flatten(1))


@pytest.mark.parametrize("shape", [(5,), (3, 7), (3, 9, 6), (1, 100)])
def test_any_shape_gets_finite_numbers_of_unit_scale(shape: tuple[int, ...]) -> None:
    found = probes(InputSpec(NUMBERS, shape))
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert 0.5 < found.square().mean().sqrt() < 1.5


def test_a_finer_picture_averages_to_the_coarse_one() -> None:
    fine = probes(InputSpec(NUMBERS, (1, 64, 64)), 0, 64)
    coarse = torch.nn.functional.adaptive_avg_pool2d(fine, 8)
    smooth = slice(0, None, 8)
    assert (coarse[smooth] - probes(PICTURE)[:64][smooth]).abs().mean() < 0.05


def test_a_picture_of_many_positions_is_the_coarse_one_between_them() -> None:
    """297² positions are evaluated in parts; every third of them is one of the 99²."""
    fine, coarse = (probes(InputSpec(NUMBERS, (1, side, side)), 0, 16) for side in (297, 99))
    for family in (0, 2, 3, 4, 6, 7):
        apart = (fine[family::8, :, 1::3, 1::3] - coarse[family::8]).abs()
        assert apart.max() < 1e-5


def test_channels_vary_one_picture() -> None:
    first, second = probes(InputSpec(NUMBERS, (2, 8, 8))).flatten(2).unbind(1)
    alike = torch.cosine_similarity(first[::8], second[::8], dim=1).mean()
    assert 0.4 < alike < 0.95


@given(st.integers(0, PROBES), st.integers(0, PROBES))
def test_a_part_is_that_part_of_the_whole(start: int, stop: int) -> None:
    start, stop = sorted((start, stop))
    for spec in (PICTURE, InputSpec(TOKENS, (6,), vocabulary=20)):
        assert torch.equal(probes(spec, start, stop), probes(spec)[start:stop])


@given(st.integers(2, 300), st.integers(1, 40), st.integers(0, 3))
def test_tokens_are_of_the_vocabulary(vocabulary: int, length: int, first: int) -> None:
    first = min(first, vocabulary - 1)
    found = probes(InputSpec(TOKENS, (length,), vocabulary=vocabulary, first=first))
    assert found.shape == (PROBES, length)
    assert found.min() >= 0
    assert found.max() < vocabulary
    assert (found[:, 0] == first).all()


def test_the_version_names_these_probes() -> None:
    coarse = (probes(PICTURE) * 100).round().to(torch.int16).numpy()
    tokens = probes(InputSpec(TOKENS, (12,), vocabulary=64)).numpy()
    digest = hashlib.sha256(coarse.tobytes() + tokens.tobytes()).hexdigest()[:12]
    said = hashlib.sha256("\n".join(sentences()).encode()).hexdigest()[:12]
    assert (VERSION, digest, said) == ("2", "eab327bb6635", "ba51db98ddb5"), (
        "other probes need another version"
    )


def test_sentences_are_padded_to_what_a_network_takes() -> None:
    spec = InputSpec(TEXT, (4,), vocabulary=9, padding=8, sentences=((1, 2), (3, 4, 5, 6), (7,)))
    assert probes(spec, 0, 3).tolist() == [[1, 2, 8, 8], [3, 4, 5, 6], [7, 8, 8, 8]]
    assert torch.equal(probes(spec, 1, 2), probes(spec, 0, 3)[1:2])
