"""Cards and configs: read through to the record where they are sound, harmless where they are not."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.zoo import ModelFile, ModelRecord
from peace_pipeline.zoo.card import MAX_TEXT_BYTES, enriched, front_matter, parted
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.record import from_table, to_table
from tests.lakes import directory, write_model

CARD = """---
library_name: transformers
license: apache-2.0
pipeline_tag: text-classification
datasets: [imdb, sst2]
tags: [a, b]
base_model: org/base
base_model_relation: finetune
hyperparameters: {recipe: r1, learning_rate: 0.001, epochs: 3, augmented: true}
seed: 7
model-index:
- name: m
  results:
  - task: {type: text-classification}
    dataset: {name: IMDB, type: imdb}
    metrics:
    - {type: accuracy, value: 0.91}
    - {type: f1, value: 0.5}
    - {type: broken, value: not a number}
    - {type: infinite, value: .inf}
---
# A model
Ünïcode text.
"""
STATE = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(2, 3)}


def record_of(folder: Path) -> ModelRecord:
    return enriched(ModelRecord("directory", "directory:z/m", "1", folder.as_uri()), folder)


def stored(records: list[ModelRecord], path: Path) -> list[ModelRecord]:
    write_parquet(to_table(records), path)
    return from_table(pq.read_table(path))


def test_the_card_is_read_through_to_the_record(lake: Lake, zoo: Path) -> None:
    write_model(zoo / "m", STATE, {"model_type": "bert"}, CARD)
    crawl_zoo(lake, directory(zoo))
    record = Current(lake).records()["directory:zoo/m"]
    assert record.architecture == "bert"
    assert record.library == "transformers"
    assert record.license == "apache-2.0"
    assert record.task == "text-classification"
    assert record.datasets == ("imdb", "sst2")
    assert record.tags == ("a", "b")
    assert (record.base_model, record.base_model_relation) == ("org/base", "finetune")
    assert record.hyperparameters == {
        "recipe": "r1",
        "learning_rate": "0.001",
        "epochs": "3",
        "augmented": "True",
    }
    assert record.seed == 7
    assert record.metrics == {"accuracy": 0.91, "f1": 0.5}
    assert record.card == CARD
    assert {file.path for file in record.files} == {"model.safetensors", "config.json", "README.md"}


BAD_CARDS = {
    "empty": "",
    "no front matter": "# Only text",
    "unclosed": "---\nlicense: mit\n",
    "not YAML": "---\n{: [\n---\n",
    "a list": "---\n- a\n- b\n---\n",
    "scalar": "---\n42\n---\n",
    "tag": "---\nlicense: !!python/object/apply:os.system ['false']\n---\n",
    "wrong types": "---\nlicense: {a: 1}\ndatasets: 3\ntags: {x: y}\npipeline_tag: [1]\nseed: x\n"
    "hyperparameters: [1]\nbase_model: [[1]]\nmodel-index: 5\n---\n",
    "model-index": "---\nmodel-index:\n- name: x\n  results:\n  - {}\n---\n",
    "model-index of nulls": "---\nmodel-index: [null]\n---\n",
    "huge seed": "---\nseed: 99999999999999999999999999\n---\n",
    "lone surrogate": '---\nlicense: "\\ud800"\ndatasets: ["\\udfff"]\nhyperparameters: {"\\ud800": 1}\n---\n',
    "recursive": "---\nhyperparameters: &a {x: *a}\n---\n",
    "zero byte": "---\nlicense: m\0it\n---\n",
    "date": "---\nlicense: 2020-01-01\nseed: 2020-01-01\n---\n",
    "bomb": "---\n"
    + "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    + "hyperparameters: {boom: *a11}\ndatasets: *a11\n---\n",
}


@pytest.mark.parametrize("case", BAD_CARDS)
def test_a_malformed_card_fails_nothing(case: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(BAD_CARDS[case])
    (record,) = stored([record_of(tmp_path)], tmp_path / "t.parquet")
    assert record.status == "new"
    assert record.metrics == {}


MERGED = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 16))
GREEDY = {
    "merge keys": MERGED,
    "repeated results": "x: &x [1]\ny: [" + "*x, " * 1000 + "]\n",
    "deep": "x: " + "[" * 100 + "]" * 100 + "\n",
    "many tags": "tags: [" + ", ".join(map(str, range(20_000))) + "]\n",
    "many keys": "".join(f"k{n}: 1\n" for n in range(20_000)),
    "long number": "seed: 1" + ":59" * 30_000 + "\n",
    "long": "x: |\n" + "  text\n" * 80_000,
}


@pytest.mark.parametrize("case", GREEDY)
def test_metadata_that_would_take_all_time_or_memory_is_not_read(case: str) -> None:
    assert front_matter(f"---\nlicense: mit\n{GREEDY[case]}---\n# A model\n") == {}


def test_a_long_text_below_the_metadata_hinders_nothing() -> None:
    assert front_matter("---\nlicense: mit\n---\n" + "text\n" * 500_000)["license"] == "mit"


def test_a_card_without_metadata_is_nothing_to_warn_about(caplog: pytest.LogCaptureFixture) -> None:
    client = logging.getLogger("huggingface_hub")
    client.addHandler(caplog.handler)
    assert front_matter("# Only text") == {}
    client.removeHandler(caplog.handler)
    assert not caplog.records


@pytest.mark.parametrize("case", GREEDY)
def test_the_text_below_is_told_apart_whatever_is_above(case: str) -> None:
    assert parted(f"---\n{GREEDY[case]}---\n# A model\n") == (None, "# A model\n")
    assert parted("---\nlicense: mit\n---\n# A model\n") == ({"license": "mit"}, "# A model\n")
    assert parted("# A model\n") == (None, "# A model\n")


def test_missing_huge_and_undecodable_files(tmp_path: Path) -> None:
    assert record_of(tmp_path).card is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\n---\n\xff\xfe caf\xe9")
    record = record_of(tmp_path)
    assert record.license == "mit"
    assert "\N{REPLACEMENT CHARACTER}" in (record.card or "")
    (tmp_path / "README.md").write_text("x" * (MAX_TEXT_BYTES + 1))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "y", "pad": "x" * MAX_TEXT_BYTES}))
    record = record_of(tmp_path)
    assert (record.card, record.architecture) == (None, None)
    (tmp_path / "README.md").unlink()
    (tmp_path / "README.md").mkdir()
    assert record_of(tmp_path).card is None


BAD_CONFIGS = [
    b"",
    b"[1]",
    b"{",
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"model_type": 3}',
    b'{"model_type": "\\ud800"}',
]


@pytest.mark.parametrize("content", BAD_CONFIGS)
def test_a_malformed_config_fails_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    (record,) = stored([record_of(tmp_path)], tmp_path / "t.parquet")
    assert record.architecture in (None, "?")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *("license", "library_name", "pipeline_tag", "datasets", "tags", "base_model", "base_model_relation"),
        *("hyperparameters", "seed", "metrics", "model-index", "model_name", "eval_results", "language"),
    ]
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_front_matter_makes_a_record_that_can_be_stored(metadata: dict[str, object]) -> None:
    import tempfile

    import yaml

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = yaml.safe_dump(metadata, allow_unicode=False)
        (folder / "README.md").write_text(f"---\n{text}---\n# Card\n")
        (record,) = stored([record_of(folder)], folder / "t.parquet")
        assert record.card == f"---\n{text}---\n# Card\n"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))
RECORDS = st.builds(
    ModelRecord,
    source=TEXT, model_id=TEXT, revision=TEXT, uri=TEXT, etag=st.none() | TEXT,
    files=st.lists(st.builds(ModelFile, TEXT, st.integers(0, 2**60), TEXT, TEXT), max_size=2).map(tuple),
    architecture=st.none() | TEXT, library=st.none() | TEXT, task=st.none() | TEXT,
    datasets=st.lists(TEXT, max_size=2).map(tuple),
    metrics=st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=2),
    hyperparameters=st.dictionaries(TEXT, TEXT, max_size=2),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1), base_model=st.none() | TEXT,
    base_model_relation=st.none() | TEXT, license=st.none() | TEXT,
    tags=st.lists(TEXT, max_size=2).map(tuple), card=st.none() | TEXT,
    parameters=st.none() | st.integers(0, 2**60), created_at=st.none() | TIMES, last_modified=st.none() | TIMES,
    status=st.sampled_from(["new", "skipped", "deleted"]), reason=st.none() | TEXT,
)  # fmt: skip


@given(st.lists(RECORDS, max_size=3))
def test_records_round_trip_through_parquet(records: list[ModelRecord]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        assert stored(records, Path(name) / "t.parquet") == records
