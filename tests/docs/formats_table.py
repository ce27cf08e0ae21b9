"""The table of docs/formats.md: a row for each format of the registry, and the test of each cell.

`python -m tests.docs.formats_table` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from peace_pipeline.weights.formats.facts import FACTS, Facts

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
_BEGIN, _END = "<!-- formats: python -m tests.docs.formats_table -->\n", "<!-- /formats -->"

_EVERY = "weights/test_formats.py::test_names_shapes_and_values_are_those_written"
_EQUAL = "weights/test_formats.py::test_one_network_gives_equal_layers_from_every_format"
_PACKED = "weights/logical/test_containers.py::test_packed_weights"
_REFUSED = "weights/logical/test_containers.py::test_what_is_not_unpacked"
TESTS = {
    "safetensors": Facts(_EVERY, _EQUAL, _PACKED, "zoo/hub/test_ranges.py::*", _REFUSED),
    "pytorch": Facts(
        _EVERY, "weights/formats/test_paddle.py::test_linear_layers_are_out_in", _PACKED, "", _REFUSED
    ),
    "torchscript": Facts(
        _EVERY, _EQUAL, "weights/formats/test_storages.py::test_quantised_tensors", "",
        "weights/formats/test_torchscript.py::test_frozen_torchscript_has_no_named_weights",
    ),
    "onnx": Facts(
        _EVERY, _EQUAL, "weights/formats/test_onnx_quantised.py::test_linear_convolution", "",
        "weights/formats/test_onnx.py::test_what_is_refused",
    ),
    "hdf5": Facts(
        _EVERY, _EQUAL, "", "",
        "weights/formats/test_hdf5.py::test_another_floating_type_is_refused_but_bfloat16_is_read"
    ),
    "keras": Facts(_EVERY, _EQUAL, "", "", "weights/formats/test_keras.py::test_quantised_layers_are_refused"),
    "gguf": Facts(
        _EVERY, "weights/formats/test_gguf.py::test_the_rows_of_queries_and_keys_are_as_pytorch_has_them",
        "weights/formats/test_gguf.py::test_quantised_types", "",
        "weights/formats/test_gguf.py::test_types_that_are_not_read",
    ),
    "npz": Facts(_EVERY, _EQUAL, "", "", "weights/formats/test_npz.py::*"),
    "flax": Facts(_EVERY, "weights/formats/test_flax.py::test_heads_of_attention", "", "",
                  "weights/formats/test_flax.py::test_what_is_refused"),
    "fasttext": Facts(
        "weights/formats/test_fasttext.py::test_both_matrices", "weights/formats/test_fasttext.py::test_both_matrices",
        "", "", "weights/formats/test_fasttext.py::test_what_is_refused",
    ),
    "stable_baselines3": Facts(
        "weights/formats/test_stable_baselines3.py::test_the_policy_is_read",
        "weights/formats/test_stable_baselines3.py::test_the_policy_is_read", "", "",
        "weights/formats/test_stable_baselines3.py::test_what_is_compressed_or_no_archive_is_refused",
    ),
}  # fmt: skip
"""Format → where each cell of its row is tested, under tests/."""


def table() -> str:
    """The table as it should be."""
    columns = ("format", "read", "layout undone", "quantisation undone", "by ranges", "refused by name")
    head = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    rows = (f"| {kind} | {' | '.join(cell or '–' for cell in facts)} |\n" for kind, facts in FACTS.items())
    return head + "".join(rows)


def page(text: str) -> str:
    """The page with the table as it should be."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
