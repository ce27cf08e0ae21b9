"""`peace init`, and `peace ui` where a port is taken."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path

import pytest

from tests.pipeline import PEACE, Workplace, environment, write_networks
from tests.terminal import typed


@pytest.fixture
def here(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    write_networks(place.zoo, 0, 1)
    return place


def init(place: Workplace, *arguments: str, answers: str = "") -> tuple[int, list[str]]:
    words = [str(PEACE), "init", *arguments]
    return typed(words, width=80, cwd=place.root, env=environment(), answers=answers)


def sources(place: Workplace) -> list[dict]:
    return tomllib.loads((place.root / "peace.toml").read_text()).get("source", [])


def test_sources_that_are_given(here: Workplace) -> None:
    code, lines = init(here, "zoo", "--hub", "org", "--demo")
    assert (code, [one["kind"] for one in sources(here)]) == (0, ["directory", "huggingface", "trained"]), (
        lines
    )
    code, lines = init(here, "zoo", "--hub", "other")
    assert code == 2
    assert 'author = "other"' in lines
    assert 'path = "zoo"' not in lines
    assert "is there already: add the lines above" in " ".join(lines)
    assert "is there already: edit it" in " ".join(init(here, "zoo")[1])


def test_sources_that_are_asked_for(here: Workplace) -> None:
    code, lines = init(here, answers="zoo\n\nn\n")
    assert (code, sources(here)) == (0, [{"kind": "directory", "path": "zoo"}]), lines
    assert here.peace("run", "--json").json["embedded"] == 1


def test_without_a_terminal_every_source_is_a_comment(here: Workplace) -> None:
    from typer.testing import CliRunner

    from peace_pipeline.cli.app import app

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here.root)
        assert CliRunner().invoke(app, ["init"]).exit_code == 0
    assert sources(here) == []
    commented = (here.root / "peace.toml").read_text()
    uncommented = "\n".join(line.removeprefix("# ") for line in commented.splitlines()[3:])
    assert len(tomllib.loads(uncommented)["source"]) == 3


def test_a_folder_that_is_none(here: Workplace) -> None:
    code, lines = init(here, "nowhere")
    assert code == 2
    assert "nowhere is no folder" in " ".join(lines)
    assert not (here.root / "peace.toml").exists()
    code, lines = init(here, answers="nowhere\nzoo\n\nn\n")
    assert (code, len(sources(here))) == (0, 1), lines
    assert "nowhere is no folder" in " ".join(lines), "it is asked for again at once"


@pytest.mark.parametrize("option", ["--pages", "--mlflow"])
def test_servers_need_a_port_each(option: str, here: Workplace) -> None:
    assert "a port each" in here.peace("ui", "--port", "3070", option, "3070", code=2).err


NEED_A_LAKE = (
    "status", "list", "show x", "forget x", "gc", "atlas", "report", "train", "encoder pretrained", "search x"
)  # fmt: skip


def test_looking_makes_no_lake(here: Workplace) -> None:
    for words in NEED_A_LAKE:
        answer = here.peace(*words.split(), code=1)
        assert answer.err.startswith(("peace: no lake in ", "peace: no index in "))
        assert "`peace run` makes one" in answer.err
    weights = here.zoo / "n000" / "model.safetensors"
    here.peace("embed", weights)
    here.peace("wiring", weights)
    here.peace("compare", weights, weights)
    here.peace("encoder")
    assert not (here.root / "home").exists()


def test_sources_without_models(here: Workplace) -> None:
    (here.root / "empty").mkdir()
    init(here, "empty")
    assert "the sources in peace.toml have none" in here.peace("run").out
    assert "no [[source]] table" in here.peace("run", "--config", "/dev/null", code=1).err
    assert "not found" in here.peace("run", "--config", "nowhere.toml", code=1).err


def test_a_port_that_is_taken(here: Workplace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        answer = here.peace("ui", "--port", str(port), code=1)
    assert answer.err.startswith(f"peace: port {port} for the lineage can't be had (Address already in use)")
    assert answer.err.count("\n") == 1
    assert "--port" in answer.err
