"""The trained zoo: regenerates bit for bit, survives being killed, and its cards tell the truth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from peace_pipeline.zoo.trained import PLANS, TASKS, build, generate, load_task
from peace_pipeline.zoo.trained import data as data_module
from peace_pipeline.zoo.trained.demo import DEMO

STEPS = {"mlp": 40, "cnn": 30, "resnet": 30}
TINY = replace(DEMO, name="tiny", tasks={"digits": STEPS, "breast-cancer": STEPS})
FILES = {"config.json", "model.safetensors", "README.md"}


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """A plan small enough for tests, beside the real ones; one thread, as others compute beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    PLANS["tiny"] = TINY
    yield
    del PLANS["tiny"]
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def zoo(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One chunk of every task and architecture, trained by one process."""
    networks = 6 * TINY.chunk_size
    return generate(tmp_path_factory.mktemp("zoo"), recipe="tiny", networks=networks, processes=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def front_matter(network: Path) -> dict[str, Any]:
    return yaml.safe_load((network / "README.md").read_text().split("---\n")[1])


def test_every_network_is_complete_and_named_once(zoo: Path) -> None:
    networks = list(zoo.iterdir())
    assert len(networks) == 6 * TINY.chunk_size
    assert all({file.name for file in network.iterdir()} == FILES for network in networks)


def test_chunks_regenerate_bit_equal_by_two_processes(zoo: Path, tmp_path: Path) -> None:
    again = contents(generate(tmp_path, recipe="tiny", networks=3 * TINY.chunk_size, processes=2))
    assert len(again) == 3 * TINY.chunk_size * len(FILES)
    assert again.items() <= contents(zoo).items()


def test_a_finished_zoo_costs_nothing_and_another_seed_replaces_it(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    size = TINY.chunk_size
    first = contents(generate(tmp_path, recipe="tiny", networks=1, progress=lambda *n: calls.append(n)))
    assert calls == [(0, size), (size, size)]
    generate(tmp_path, recipe="tiny", networks=size, progress=lambda *n: calls.append(n))
    assert calls[2:] == [(size, size)]
    second = contents(generate(tmp_path, recipe="tiny", networks=1, seed=1))
    assert {name.split("-")[0] for name in second} == {"digits"}
    weights = [zoo["digits-mlp-000-s0/model.safetensors"] for zoo in (first, second)]
    assert weights[0] != weights[1]


KILLED = """
from pathlib import Path
from dataclasses import replace
from peace_pipeline.zoo.trained import PLANS, generate
from peace_pipeline.zoo.trained.demo import DEMO
steps = {"mlp": 40, "cnn": 30, "resnet": 30}
PLANS["tiny"] = replace(DEMO, name="tiny", tasks={"digits": steps, "breast-cancer": steps})
generate(Path(ROOT), recipe="tiny", networks=114, processes=2)
"""


def test_a_killed_run_resumes(zoo: Path, tmp_path: Path) -> None:
    script = KILLED.replace("ROOT", repr(str(tmp_path)))
    killed = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob(".tiny/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    finished = list(tmp_path.glob(".tiny/*.json"))
    assert 1 <= len(finished) < 6
    assert all({file.name for file in network.iterdir()} == FILES for network in tmp_path.glob("tiny/*"))
    progress: list[tuple[int, int]] = []
    resumed = generate(
        tmp_path, recipe="tiny", networks=114, processes=1, progress=lambda *n: progress.append(n)
    )
    assert progress[0] == (len(finished) * TINY.chunk_size, 114)
    assert len(list(resumed.iterdir())) == 114
    assert contents(resumed) == contents(zoo)
    assert not list(tmp_path.glob(".tiny/building-*"))


INTERRUPTED = """
import signal
from dataclasses import replace
from pathlib import Path
from peace_pipeline.zoo.trained import PLANS, generate
from peace_pipeline.zoo.trained.demo import DEMO

class Interrupt(BaseException):
    "What an orchestrator raises in place of KeyboardInterrupt."

def interrupt(*_):
    raise Interrupt

if __name__ == "__main__":
    if OWN:
        signal.signal(signal.SIGINT, interrupt)
    mlp = {"mlp": DEMO.architectures["mlp"]}
    tasks = {"digits": {"mlp": 20_000}, "breast-cancer": {"mlp": 10}}
    PLANS["tiny"] = replace(DEMO, name="tiny", architectures=mlp, tasks=tasks)
    generate(Path(ROOT), recipe="tiny", networks=38, processes=2)
"""


@pytest.mark.parametrize("own", [False, True], ids=["KeyboardInterrupt", "another exception"])
def test_an_interrupt_ends_training_and_keeps_what_is_finished(tmp_path: Path, own: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(INTERRUPTED.replace("ROOT", repr(str(tmp_path))).replace("OWN", str(own)))
    running = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / ".tiny/0001.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    running.communicate(timeout=10)  # waits for the workers too: they hold the same stderr
    assert running.returncode != 0
    assert [path.name for path in tmp_path.glob(".tiny/*.json")] == ["0001.json"]
    assert len(list(tmp_path.glob("tiny/*"))) == DEMO.chunk_size


def test_networks_have_the_accuracy_of_their_cards(zoo: Path) -> None:
    for folder in zoo.iterdir():
        config, card = json.loads((folder / "config.json").read_text()), front_matter(folder)
        network = build(config)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        task = load_task(card["datasets"][0])
        with torch.inference_mode():
            x = torch.tensor(task.x_test).view(-1, *config["input_shape"])
            answers = network.eval()(x).argmax(1).numpy()
        reported = card["model-index"][0]["results"][0]["metrics"][0]["value"]
        assert (answers == task.y_test).mean() == pytest.approx(reported)


def test_cards_tell_runs_recipes_and_labels(zoo: Path) -> None:
    cards = {folder.name: front_matter(folder) for folder in zoo.iterdir()}
    early = [name for name in cards if name.endswith("-early")]
    assert len(early) == 6 * TINY.early
    for name in early:
        first, last = (cards[n]["hyperparameters"] for n in (name, name.removesuffix("-early")))
        assert first["run"] == last["run"] == name.removesuffix("-early")
        assert first["early"]
        assert not last["early"]
        assert first["step"] < last["step"] == last["steps"]
    shuffled = [card for card in cards.values() if card["hyperparameters"]["labels"] == "shuffled"]
    assert 0.05 < len(shuffled) / len(cards) < 0.2
    for card in cards.values():
        h = card["hyperparameters"]
        assert h["run"] == f"{h['recipe']}-s{card['seed']}"
    seeds = {card["seed"] for card in cards.values() if card["hyperparameters"]["recipe"] == "digits-mlp-000"}
    assert seeds == {0, 1, 2}


def test_shapes_do_not_tell_the_task(zoo: Path) -> None:
    shapes: dict[str, set[str]] = {}
    for folder in zoo.iterdir():
        config = (folder / "config.json").read_text()
        tensors = {k: (v.shape, v.dtype) for k, v in load_file(folder / "model.safetensors").items()}
        shapes.setdefault(json.loads(config)["model_type"], set()).add(config + str(tensors))
    assert {kind: len(variants) for kind, variants in shapes.items()} == {"mlp": 1, "cnn": 1, "resnet": 1}


@pytest.mark.parametrize("kind", ["mlp", "cnn", "resnet"])
def test_a_population_computes_what_its_networks_compute(kind: str) -> None:
    from peace_pipeline.zoo.trained.populations import build, initial, select, stack

    config = DEMO.architectures[kind]
    states = [initial(config, 1.0, torch.Generator().manual_seed(i)) for i in range(3)]
    population = build(config, 3).eval()
    population.load_state_dict(stack(states))
    x = torch.randn(5, 3, *config["input_shape"])
    together = population(x.flatten(1, 2)).view(5, 3, 10)
    for i in range(3):
        network = build(config).eval()
        network.load_state_dict(select(population.state_dict(), i, 3))
        torch.testing.assert_close(together[:, i], network(x[:, i]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_tasks_have_one_shape(name: str) -> None:
    task = load_task(name)
    for x, y in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
        assert x.shape == (len(y), 12 if task.is_text else 64)
        assert np.isfinite(x).all()
        assert 0 <= y.min() <= y.max() < 10
    assert not {x.tobytes() for x in task.x_train} & {x.tobytes() for x in task.x_test}


def test_animal_mnist_is_refused_without_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_module, "files", lambda name: [])
    load_task.cache_clear()
    data_module.animal_mnist.cache_clear()
    with pytest.raises(RuntimeError, match="pip install --no-deps animal-mnist"):
        load_task("animal-mnist")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="demo"):
        generate(tmp_path, recipe="nonsense")
    with pytest.raises(ValueError, match="digits"):
        load_task("nonsense")


def test_the_package_imports_no_heavy_library() -> None:
    code = "import sys, peace_pipeline.zoo.trained; print({'torch', 'sklearn', 'huggingface_hub'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
