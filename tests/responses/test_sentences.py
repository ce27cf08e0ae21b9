"""The standard sentences: as many as there are probes, each once, of all kinds from the first ones on."""

from __future__ import annotations

from peace_pipeline.responses.sentences import sentences
from peace_pipeline.responses.standard import PROBES


def test_there_is_one_a_probe() -> None:
    found = sentences()
    assert len(found) == len(set(found)) == PROBES
    assert not any("{" in each.replace("{ return", "") for each in found), "a frame is filled"
    assert max(map(len, found)) < 140


def test_the_first_ones_are_of_all_kinds() -> None:
    first = " ".join(sentences()[:64])
    for said in ("?", "!", "wohnt", "habite", "живёт", "住在", "dollars", "Fix this line"):
        assert said in first
