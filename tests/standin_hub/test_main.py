"""The stand-in Hub's folder: kept over restarts, filled from folders, served from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi

from tests.standin_hub import StandinHub
from tests.standin_hub.serving import CONFIG, FILES, WEIGHTS, download

ROOT = Path(__file__).parents[2]


def test_restart_on_the_same_folder(tmp_path: Path) -> None:
    with StandinHub(tmp_path / "hub") as hub:
        first = hub.push("org/a", FILES, likes=3)
        second = hub.touch("org/a")
        before = hub.repos
    with StandinHub(tmp_path / "hub") as hub:
        api = HfApi(endpoint=hub.endpoint, token=False)
        assert hub.repos == before
        assert api.model_info("org/a").sha == second
        assert download(api, tmp_path / "cache", revision=first).read_bytes() == WEIGHTS
        assert hub.touch("org/a") not in (first, second)


def test_folders_are_imported_once(hub: StandinHub, api: HfApi, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "zoo" / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(WEIGHTS)
        (folder / "config.json").write_bytes(CONFIG)
    assert hub.import_folder(tmp_path / "zoo", "demo") == ["demo/a", "demo/b"]
    (tmp_path / "zoo" / "b" / "config.json").unlink()
    assert hub.import_folder(tmp_path / "zoo", "demo") == ["demo/b"]
    assert [model.id for model in api.list_models(author="demo", sort="last_modified")] == [
        "demo/b",
        "demo/a",
    ]
    stored = hub.repos["demo/a"].path(hub.repos["demo/a"].head, "model.safetensors")
    assert os.path.samefile(stored, tmp_path / "zoo" / "a" / "model.safetensors")


def test_command_line_serves_until_interrupted(tmp_path: Path) -> None:
    (tmp_path / "zoo" / "a").mkdir(parents=True)
    (tmp_path / "zoo" / "a" / "config.json").write_bytes(CONFIG)
    command = [sys.executable, "-u", "-m", "tests.standin_hub", str(tmp_path / "hub"), "--port", "0"]
    command += ["--import", str(tmp_path / "zoo"), "--owner", "demo"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("1 new or changed")
        endpoint = process.stdout.readline().split()[3].rstrip(";")
        found = list(HfApi(endpoint=endpoint, token=False).list_models())
        process.send_signal(signal.SIGINT)
        output = process.stdout.read()
    assert [model.id for model in found] == ["demo/a"]
    assert f'endpoint = "{endpoint}"' in output
    assert output.endswith("stopped\n")
    assert process.returncode == 0
