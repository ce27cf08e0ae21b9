"""The tables of the index by themselves: upserts by key, replacement, and the approximate index beside exact search."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from lancedb.index import IvfPq

from peace_pipeline.index.search import search
from peace_pipeline.index.tables import (
    MODELS,
    connect,
    indexed_models,
    maintain,
    open_or_create,
    replace,
    served_version,
    upsert,
)
from peace_pipeline.lake import Lake

DIMENSION, ROWS, NEAREST = 32, 3000, 10
SIZES = {"vector": DIMENSION, "weights": DIMENSION, "responses": 16}


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Vectors (count, DIMENSION) of norm 1 around 30 centres."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(30, DIMENSION))
    vectors = centres[generator.integers(30, size=count)] + 0.7 * generator.normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def rotated(vectors: np.ndarray) -> np.ndarray:
    """The same vectors in another basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(9).normal(size=(DIMENSION, DIMENSION)))
    return (vectors @ basis).astype(np.float32)


def rows_of(vectors: np.ndarray, version: str = "one", start: int = 0) -> pa.Table:
    """Rows of the table of models, of ids that follow each other."""
    columns = {
        "model_id": [f"m{start + number:05}" for number in range(len(vectors))],
        "encoder_version": [version] * len(vectors),
        "card": ["a card"] * len(vectors),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIMENSION),
    }
    columns["weights"] = columns["vector"]
    schema = MODELS.schema(SIZES)
    return pa.table(
        [columns.get(name, pa.nulls(len(vectors))) for name in schema.names], names=schema.names
    ).cast(schema)


@pytest.fixture
def approximate(lake: Lake) -> Lake:
    """A lake whose table of models has an approximate index, as large ones have."""
    table = open_or_create(connect(lake), MODELS, SIZES)
    upsert(table, MODELS, rows_of(clustered(ROWS)))
    maintain(table, MODELS, exact_rows=1000)
    assert vector_indexes(lake) == [f"vector_{ROWS}"]
    return lake


def vector_indexes(lake: Lake) -> list[str]:
    indexes = connect(lake).open_table("models").list_indices()
    return [index.name for index in indexes if index.columns == ["vector"]]


def test_every_vector_that_is_searched_is_indexed_where_enough_rows_have_it(approximate: Lake) -> None:
    table = connect(approximate).open_table("models")
    assert {column for index in table.list_indices() for column in index.columns} >= {"vector", "weights"}
    rows = rows_of(clustered(ROWS))
    position = rows.schema.get_field_index("responses")
    answers = [row[:16].tolist() if number % 2 else None for number, row in enumerate(clustered(ROWS, 8))]
    upsert(
        table,
        MODELS,
        rows.set_column(
            position, rows.schema.field(position), pa.array(answers, rows.schema.field(position).type)
        ),
    )
    maintain(table, MODELS, exact_rows=1000)
    assert f"responses_{ROWS // 2}" in {index.name for index in table.list_indices()}
    hits = search(approximate, np.asarray(answers[7], np.float32), by="responses", k=ROWS)
    assert hits[0].model_id == "m00007"
    assert {int(hit.model_id[1:]) % 2 for hit in hits} == {1}


def assert_found(lake: Lake, vectors: np.ndarray) -> None:
    """Of the ten nearest of each of 40 queries .95 are found, and no rank contradicts the similarities."""
    found = 0
    for query in vectors[:40]:
        hits = search(lake, query, k=NEAREST)
        similarities = [hit.similarity for hit in hits]
        assert similarities == sorted(similarities, reverse=True)
        nearest = np.argsort(-(vectors @ query))[:NEAREST]
        assert similarities[0] == pytest.approx(1, abs=1e-5)
        found += len({f"m{number:05}" for number in nearest} & {hit.model_id for hit in hits})
    assert found >= 0.95 * NEAREST * 40


def test_approximate_search_finds_what_exact_search_finds(approximate: Lake) -> None:
    assert_found(approximate, clustered(ROWS))


def test_rows_outside_the_index_are_found_too(approximate: Lake) -> None:
    table = connect(approximate).open_table("models")
    new = clustered(20, seed=5)
    upsert(table, MODELS, rows_of(new, start=ROWS))
    assert [search(approximate, query, k=1)[0].model_id for query in new] == [
        f"m{ROWS + number:05}" for number in range(20)
    ]
    assert_found(approximate, np.concatenate([clustered(ROWS), new]))


def test_filters_leave_enough_answers(approximate: Lake) -> None:
    hits = search(approximate, clustered(ROWS)[0], where="model_id >= 'm02990'")
    assert sorted(hit.model_id for hit in hits) == [f"m{number:05}" for number in range(2990, 3000)]


def test_after_a_replacement_by_another_space_recall_stays(approximate: Lake) -> None:
    vectors = rotated(clustered(ROWS))
    replace(connect(approximate), MODELS, SIZES, iter(rows_of(vectors, "two").to_batches(500)))
    maintain(connect(approximate).open_table("models"), MODELS, exact_rows=1000)
    assert vector_indexes(approximate) == [f"vector_{ROWS}"]
    assert served_version(approximate) == "two"
    assert_found(approximate, vectors)


def test_a_table_that_doubled_gets_new_centroids(approximate: Lake) -> None:
    table = connect(approximate).open_table("models")
    vectors = np.concatenate([clustered(ROWS), clustered(ROWS + 10, seed=3)])
    upsert(table, MODELS, rows_of(vectors[ROWS:5000], start=ROWS))
    maintain(table, MODELS, exact_rows=1000)
    assert vector_indexes(approximate) == [f"vector_{ROWS}"]
    upsert(table, MODELS, rows_of(vectors[5000:], start=5000))
    maintain(table, MODELS, exact_rows=1000)
    assert vector_indexes(approximate) == [f"vector_{len(vectors)}"]
    assert_found(approximate, vectors)


def test_an_index_of_an_earlier_version_stays_until_it_pays_to_train_anew(lake: Lake) -> None:
    vectors = clustered(ROWS)
    table = open_or_create(connect(lake), MODELS, SIZES)
    upsert(table, MODELS, rows_of(vectors))
    table.create_index("vector", config=IvfPq(distance_type="cosine", num_partitions=4, num_sub_vectors=8))
    maintain(table, MODELS, exact_rows=ROWS)
    assert vector_indexes(lake) == ["vector_idx"]
    maintain(table, MODELS, exact_rows=1000)
    assert vector_indexes(lake) == [f"vector_{ROWS}"]
    assert_found(lake, vectors)


def test_small_updates_are_not_folded_at_once(approximate: Lake) -> None:
    table = connect(approximate).open_table("models")
    upsert(table, MODELS, rows_of(clustered(20, seed=5), start=ROWS))
    version = table.version
    maintain(table, MODELS, exact_rows=1000)
    assert table.version == version
    maintain(table, MODELS, exact_rows=1000, thoroughly=True)
    assert {index.num_unindexed_rows for index in table.list_indices()} == {0}


def test_models_are_looked_up_by_key(approximate: Lake) -> None:
    found = indexed_models(approximate, ["m00007", "nobody", "it's"])
    assert found.to_pylist() == [{"model_id": "m00007", "revision": None, "encoder_version": "one"}]
    assert len(indexed_models(approximate, [])) == 0
    assert len(indexed_models(approximate)) == ROWS
