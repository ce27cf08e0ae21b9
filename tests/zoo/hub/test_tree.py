"""A repository's files as a tree: folders, formats, and what has to be looked at."""

from __future__ import annotations

import pytest

from peace_pipeline.zoo.hub.tree import RepositoryTree, is_path
from peace_pipeline.zoo.layouts import weights_in

ARRAYS = b"PK\x03\x04" + bytes(22) + b"\x05\0\0\0a.npy"


class Looks:
    """Answers with the same bytes for each file, and notes which were asked for."""

    def __init__(self, head: bytes) -> None:
        self.asked: list[str] = []
        self._head = head

    def head(self, path: str, size: int) -> tuple[bytes, int]:
        self.asked.append(path)
        return self._head[:size], len(self._head)

    def document(self, path: str) -> object:
        return None


def test_folders_are_those_that_names_speak_of() -> None:
    tree = RepositoryTree(["b.pt", "a/c/d.pt", "a/x.gguf", "e.txt"], ["pytorch"], None)
    assert tree.listed("") == (["b.pt", "e.txt"], ["a"])
    assert tree.listed("a") == ([], ["c"])
    assert tree.listed("a/c") == (["d.pt"], [])


@pytest.mark.parametrize("name", ["/etc/x.pt", "../x.pt", "a/../x.pt", "a//x.pt", ".git/x.pt", "a/", ""])
def test_names_that_lead_elsewhere_are_left_out(name: str) -> None:
    assert not is_path(name)
    assert RepositoryTree([name], ["pytorch"], None).listed("") == ([], [])


def test_names_that_tell_nothing_are_looked_at_where_no_weights_lie_beside() -> None:
    names = ["m.npz", "LICENSE", "a/b.pt", "a/c.npz", "d/e.npz", "d/f"]
    looks = Looks(ARRAYS)
    tree = RepositoryTree(names, ["pytorch", "npz"], looks)
    assert [weights_in(tree, folder) for folder in ("", "a", "d")] == [["m.npz"], ["b.pt"], ["e.npz"]]
    assert looks.asked == ["m.npz", "d/e.npz"]
    assert weights_in(RepositoryTree(names, ["pytorch"], Looks(ARRAYS)), "d") == []


def test_sixteen_files_at_most_are_looked_at() -> None:
    looks = Looks(b"nothing")
    tree = RepositoryTree([f"{number}.pkl" for number in range(40)], ["pytorch"], looks)
    assert weights_in(tree) == []
    assert len(looks.asked) == len({*looks.asked}) == 16
    assert len(tree.passed_over) == 24


@pytest.mark.parametrize("is_one", [True, False])
def test_more_adapters_are_what_the_first_are(is_one: bool) -> None:
    header = b'{"lora_A.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}'
    looks = Looks(len(header).to_bytes(8, "little") + header if is_one else b"nothing")
    names = [f"{number}.safetensors" for number in range(40)]
    tree = RepositoryTree(names, ["safetensors"], looks)
    assert {tree.is_adapter(name) for name in names + names} == {is_one}
    assert len(looks.asked) == 16
