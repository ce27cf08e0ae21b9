"""Labelled examples in the files that people have, as networks read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from peace_pipeline.responses.example_files import read_examples
from peace_pipeline.responses.examples import MOST, BadExamples, Examples
from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import CannotRun
from peace_pipeline.responses.standard import NUMBERS, TEXT, TOKENS
from peace_pipeline.zoo.card import TOKENIZER
from tests.responses.wordpieces import wordpiece

RNG = np.random.default_rng(0)
LABELS = np.tile([3, 7], 10)


def read(examples: Examples, shape: tuple[int, ...], kind: str = NUMBERS, **spec: Any) -> torch.Tensor:
    parts = list(examples.read_by(InputSpec(kind, shape, **spec), Path("nowhere"), 6))
    assert max(map(len, parts)) == 6
    return torch.cat(parts)


def test_an_npz_file_is_taken_as_it_is(tmp_path: Path) -> None:
    x = RNG.normal(size=(20, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "e.npz", x=x, y=LABELS)
    found = read_examples(tmp_path / "e.npz")
    assert (len(found), found.classes) == (20, ("3", "7"))
    assert found.labels.tolist() == [0, 1] * 10
    assert np.array_equal(read(found, (1, 8, 8)), x)
    assert np.array_equal(read(found, (64,)), x.reshape(20, 64))
    assert np.array_equal(found.numbers, x.reshape(20, 64).astype(float))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_columns_of_a_table_are_standardised(tmp_path: Path, name: str) -> None:
    table = {"age": RNG.integers(20, 80, 20), "label": ["no", "yes"] * 10, "income": RNG.normal(5e4, 1e4, 20)}
    if name.endswith("csv"):
        rows = [",".join(table), *(",".join(map(str, row)) for row in zip(*table.values(), strict=True))]
        (tmp_path / name).write_text("\n".join(rows))
    else:
        pq.write_table(pa.table(table), tmp_path / name)
    found = read_examples(tmp_path / name)
    assert found.classes == ("no", "yes")
    rows = read(found, (2,)).numpy()
    assert np.allclose(rows.mean(0), 0, atol=1e-6)
    assert np.allclose(rows.std(0), 1, atol=1e-5)
    assert np.corrcoef(rows[:, 0], table["age"])[0, 1] == pytest.approx(1)


def test_a_large_table_whose_texts_have_line_breaks(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["one\n" + "x" * 60, "two\n\n"] * 10_000, "label": [0, 1] * 10_000})
    frame.to_csv(tmp_path / "t.csv", index=False)
    found = read_examples(tmp_path / "t.csv")
    assert (found.given, found.classes) == (20_000, ("0", "1"))
    assert isinstance(found.inputs, tuple)
    assert {text[:3] for text in found.inputs} == {"one", "two"}


def test_one_long_text_costs_no_more_than_itself() -> None:
    found = Examples.of(["a"] * 9_999 + ["b" * 10**7], np.arange(10_000) % 2)
    assert len(found) == MOST


def test_rows_that_pandas_numbers_are_no_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(4), "label": [0, 1, 0, 1]}, index=[5, 6, 7, 9])
    frame.to_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    frame.set_index("label").to_parquet(tmp_path / "l.parquet")
    for name in ("t.csv", "t.parquet", "l.parquet"):
        assert read_examples(tmp_path / name).inputs.shape == (4, 1)


def test_pictures_in_a_folder_for_each_class(tmp_path: Path) -> None:
    for place in range(8):
        folder = tmp_path / ("dark", "light")[place % 2]
        folder.mkdir(exist_ok=True)
        values = RNG.integers(0, 100, (30, 20, 3)) + 100 * (place % 2)
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{place}.png")
    (tmp_path / "light" / "notes.txt").write_text("no picture")
    found = read_examples(tmp_path)
    assert found.classes == ("dark", "light")
    for shape in ((3, 32, 32), (1, 16, 24)):
        x = read(found, shape)
        assert x.shape == (8, *shape)
        assert x[found.labels == 1].mean() > 0.5 > -0.5 > x[found.labels == 0].mean()
    with pytest.raises(CannotRun, match=r"shape \[784\], not \[3, 30, 20\]"):
        read(found, (784,))
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "dark" / "deep.png")
    with pytest.raises(BadExamples, match=r"dark/deep\.png has more than 8 bits"):
        read_examples(tmp_path)
    (tmp_path / "dark" / "deep.png").unlink()
    (tmp_path / "light" / "9.png").write_bytes(b"no picture")
    with pytest.raises(BadExamples, match=r"light/9\.png can't be read"):
        read_examples(tmp_path)


@pytest.mark.parametrize(
    ("sizes", "mode", "shape"),
    [
        ([(8, 8)], "L", (1, 8, 8)),
        ([(8, 6)], "RGB", (3, 6, 8)),
        ([(200, 8)], "L", (1, 128, 128)),
        ([(8, 8), (8, 9)], "RGB", (3, 128, 128)),
    ],
)
def test_small_pictures_of_one_size_keep_it(
    sizes: list[tuple[int, int]], mode: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    for place in range(8):
        folder = tmp_path / "ab"[place % 2]
        folder.mkdir(exist_ok=True)
        size = sizes[place % len(sizes)]
        values = RNG.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        Image.fromarray(values).convert(mode).save(folder / f"{place}.png")
    found = read_examples(tmp_path)
    assert not isinstance(found.inputs, tuple)
    assert found.inputs.shape == (8, *shape)
    assert found.scaled
    if shape == (1, 8, 8):
        assert read(found, (64,)).shape == (8, 64)
        first = np.asarray(Image.open(tmp_path / "a" / "0.png"), np.float64).flatten()
        assert np.corrcoef(first, found.inputs[0].flatten())[0, 1] > 0.999999


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_may_be_last(channels: int) -> None:
    x = RNG.normal(size=(20, channels, 6, 8)).astype(np.float32)
    last = Examples.of(np.moveaxis(x, 1, 3), LABELS)
    assert np.array_equal(last.inputs, x)
    assert np.array_equal(Examples.of(x, LABELS).inputs, x)
    odd = RNG.normal(size=(20, 8, 6, 4)).astype(np.float32)
    assert np.array_equal(Examples.of(odd, LABELS).inputs, odd), (
        "four channels last are not told from a height"
    )


def test_what_is_named_like_a_picture_starts_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An EPS file is drawn by Ghostscript, wherever it is installed."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    for name in ("a", "b"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        (folder / "x.png").write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n"
        )
    with pytest.raises(BadExamples, match="can't be read as a picture"):
        read_examples(tmp_path / "pictures")
    assert not (tmp_path / "ran").exists()


def test_a_row_along_a_picture_and_a_picture_at_another_size() -> None:
    rows = Examples.of(RNG.normal(size=(20, 64)).astype(np.float32), LABELS)
    assert np.array_equal(read(rows, (1, 8, 8)).flatten(1), rows.inputs)
    grey = Examples.of(np.full((20, 1, 9, 9), 2.0), LABELS)
    assert torch.allclose(read(grey, (3, 5, 7)), torch.full((20, 3, 5, 7), 2.0))
    assert grey.refused_by(NUMBERS, (3, 5, 7)) is None
    with pytest.raises(CannotRun, match=r"not \[12, 100\]"):  # twelve signals are no picture
        read(Examples.of(np.zeros((20, 12, 100)), LABELS), (1, 8, 8))
    for shape in ((63,), (2, 8, 8), (1, 65)):
        with pytest.raises(CannotRun, match="it takes inputs of shape"):
            read(rows, shape)


def test_texts_are_read_by_a_networks_own_tokenizer(tmp_path: Path) -> None:
    table = {"text": ["the dog", "a cat"] * 10, "label": LABELS.tolist()}
    pq.write_table(pa.table(table), tmp_path / "e.parquet")
    found = read_examples(tmp_path / "e.parquet")
    assert found.numbers is None
    tokenizer = wordpiece()
    tokenizer.save(str(tmp_path / TOKENIZER))
    spec = InputSpec(TEXT, (16,), vocabulary=300, padding=0)
    ids = torch.cat(list(found.read_by(spec, tmp_path, 8)))
    tokens = tokenizer.encode("the dog").ids
    assert ids[0].tolist() == tokens + [0] * (16 - len(tokens))
    assert not torch.equal(ids[0], ids[1])
    with pytest.raises(CannotRun, match="reads numbers"):
        read(found, (16,))
    with pytest.raises(CannotRun, match=r"no tokenizer\.json"):
        read(found, (16,), TOKENS, vocabulary=300)
    with pytest.raises(CannotRun, match="more tokens than it"):
        next(found.read_by(InputSpec(TOKENS, (16,), vocabulary=5), tmp_path, 8))
    padded = InputSpec(TEXT, (16,), vocabulary=300, padding=tokens[1])
    ids = next(found.read_by(padded, tmp_path, 8))
    kept = [token for token in tokens if token != tokens[1]]
    assert ids[0].tolist() == kept + [tokens[1]] * (16 - len(kept)), "no token is taken for padding"
    long = Examples.of(["dog " * 10**6, "cat \ud800"] * 10, LABELS)
    assert next(long.read_by(spec, tmp_path, 8)).shape == (8, 16)


def test_ids_of_tokens() -> None:
    found = Examples.of(RNG.integers(0, 50, (20, 12)), LABELS)
    ids = read(found, (16,), TOKENS, vocabulary=60, padding=55)
    assert np.array_equal(ids[:, :12], found.inputs)
    assert (ids[:, 12:] == 55).all()
    for shape, vocabulary, said in (((8,), 60, "asked 8 tokens, not 12"), ((16,), 20, "it has 20 tokens")):
        with pytest.raises(CannotRun, match=said):
            read(found, shape, TOKENS, vocabulary=vocabulary)
    with pytest.raises(CannotRun, match="reads tokens"):
        read(Examples.of(RNG.normal(size=(20, 12)), LABELS), (16,), TOKENS, vocabulary=60)


def test_of_many_examples_some_are_drawn_and_all_of_rare_classes() -> None:
    x = np.arange(5 * MOST, dtype=np.float32)[:, None]
    y = (np.arange(5 * MOST) % 3 == 0).astype(int)
    y[[7, 8]] = 2
    found = Examples.of(x, y)
    assert (len(found), found.given, found.classes) == (MOST, 5 * MOST, ("0", "1", "2"))
    assert np.array_equal(y[found.inputs[:, 0].astype(int)], found.labels)
    assert np.bincount(found.labels).tolist() == [MOST // 2 - 1, MOST // 2 - 1, 2]
    assert found.commonest == pytest.approx(0.499)
    texts = Examples.of([str(number) for number in range(2 * MOST)], np.arange(2 * MOST) % 2)
    assert [int(text) % 2 for text in texts.inputs] == texts.labels.tolist()


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(4, 3, requires_grad=True),
        torch.ones(4, 3, dtype=torch.bfloat16),
        [[1, 2, 3]] * 4,
        np.ones((4, 3), np.float16),
    ],
)
def test_whatever_holds_numbers_is_taken(x: Any) -> None:
    found = Examples.of(x, ["a", "b", "a", "b"])
    assert (found.labels.tolist(), found.distinct) == ([0, 1, 0, 1], 1)
    assert Examples.of(x, torch.tensor([1, 2, 1, 2], dtype=torch.bfloat16)).labels.tolist() == [0, 1, 0, 1]
    assert next(found.read_by(InputSpec(NUMBERS, (3,)), Path("nowhere"), 9)).shape == (4, 3)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((5, 2)), [0, 1], "5 inputs, but 2 labels"),
        (np.zeros((4, 2)), [1, 1, 1, 1], "one label"),
        (np.zeros((4, 2)), [0.1, 0.2, 0.3, 0.4], "4 different labels of 4 examples"),
        (np.zeros((4, 2)), [0, 1, 0, np.nan], "a label is missing"),
        (np.zeros((4, 2)), ["a", "b", "a", None], "a label is missing"),
        (np.zeros((4, 2)), [0, 1, 0, 2**70], "labels can't be understood"),
        (np.zeros((2000, 2)), np.arange(2000) % 600, "600 different labels of 2,000 examples"),
        (torch.zeros(4, 2, device="meta"), [0, 1, 0, 1], "inputs can't be understood"),
        (np.zeros((4, 2)), ["a", 1, "a", {}], "labels can't be understood"),
        (np.zeros((4, 2)), None, r"labels of shape \[\]"),
        (np.zeros((4, 2)), np.eye(2)[[0, 1, 0, 1]], r"labels of shape \[4, 2\]"),
        (np.full((4, 2), np.inf), [0, 1, 0, 1], "not all numbers are finite"),
        (np.full((4, 2), 1e300), [0, 1, 0, 1], "in single precision"),
        (np.zeros(4), [0, 1, 0, 1], "neither rows of numbers nor texts"),
        (None, [0, 1, 0, 1], "neither rows of numbers nor texts"),
        ([[1], [1, 2]], [0, 1], "inputs can't be understood"),
        ([{}, {}, {}, {}], [0, 1, 0, 1], "neither rows of numbers nor texts"),
        (np.zeros((4, 2), complex), [0, 1, 0, 1], "complex"),
    ],
)
def test_examples_that_cannot_be_used(x: Any, y: Any, said: str) -> None:
    with pytest.raises(BadExamples, match=said):
        Examples.of(x, y)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    """Nothing in a file is executed, and each has its reason."""
    np.savez(tmp_path / "half.npz", x=np.zeros((4, 2)))
    np.savez(tmp_path / "pickled.npz", x=np.array([{}, {}], dtype=object), y=[0, 1])
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "no_label.csv").write_text("a,b\n1,2\n")
    (tmp_path / "words.csv").write_text("a,label\nx,0\ny,1\n")
    (tmp_path / "gap.csv").write_text("a,label\n1,0\n,1\n2,0\n3,1\n")
    (tmp_path / "blank.csv").write_text("a,label\n1,x\n2,\n3,x\n4,y\n")
    (tmp_path / "two.csv").write_text("label,label\n1,2\n")
    (tmp_path / "numbers.csv").write_text("text,label\n1,x\n2,y\n3,x\n4,y\n")
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "large.csv").write_text("a,label\n1e308,x\n-1e308,y\n1e308,x\n2,y\n")
    (tmp_path / "alone.csv").write_text("label\n0\n1\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, said in {
        "half.npz": "no array y",
        "pickled.npz": "plain arrays",
        "broken.npz": "plain arrays",
        "no_label.csv": "not one column is called label: a, b",
        "blank.csv": "a label is missing",
        "two.csv": "not one column is called label",
        "numbers.csv": "column text has no texts",
        "words.csv": "column a is no number",
        "gap.csv": "not all numbers are finite",
        "alone.csv": "no column but label",
        "broken.parquet": "can't be read",
        "model.pt": "no .npz, .csv or .parquet",
        "empty": "no pictures",
        "nothing": "no such file",
        "header.csv": "it has no row",
        "large.csv": "in single precision",
    }.items():
        with pytest.raises(BadExamples, match=said) as caught:
            read_examples(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
