"""`peace transform` as a user types it, on models that their own library loads and runs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peace_pipeline.symmetry.testing import TOLERANCE
from peace_pipeline.symmetry.wiring.types import ONE_AFTER_THE_OTHER
from tests.pipeline import Workplace, environment
from tests.specimens import FAMILIES


def saved(name: str, folder: Path, dtype: torch.dtype = torch.float64) -> Path:
    """A specimen of seed 0 in a folder of its library's."""
    FAMILIES[name].save(FAMILIES[name].build(0, dtype), folder)
    return folder


def outputs(name: str, folder: Path) -> torch.Tensor:
    specimen = FAMILIES[name]
    return specimen.run(specimen.load(folder), specimen.inputs(1))


def change(name: str, before: Path, after: Path) -> float:
    """How far the outputs moved, relative to the largest."""
    old, new = outputs(name, before), outputs(name, after)
    return float((new - old).abs().max() / old.abs().max())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    return found


def moved(before: Path, after: Path) -> set[str]:
    """Names of the tensors that are no longer the same."""
    old, new = weights(before), weights(after)
    assert {name: (x.shape, x.dtype) for name, x in old.items()} == {
        name: (x.shape, x.dtype) for name, x in new.items()
    }
    return {name for name in old if not torch.equal(old[name], new[name])}


@pytest.fixture
def here(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.mark.parametrize("flag", ["--permute", "--scale=2", "--signs", "--heads", "--mix", "--all"])
def test_each_kind_leaves_the_function_as_it_is(here: Workplace, flag: str) -> None:
    source = saved("llama", here.root / "llama")
    answer = here.peace("transform", "llama", "new", flag, "--json").json
    assert answer["seed"] == 0
    assert answer["noise"] == 0
    assert answer["actions"]
    assert all(row.keys() == {"group", "action"} for row in answer["actions"])
    assert moved(source, here.root / "new")
    assert change("llama", source, here.root / "new") < TOLERANCE[torch.float64]


def test_what_the_flags_act_with(here: Workplace) -> None:
    saved("llama", here.root / "llama")

    def actions(*flags: str) -> set[str]:
        shutil.rmtree(here.root / "new", ignore_errors=True)
        return {
            row["action"] for row in here.peace("transform", "llama", "new", *flags, "--json").json["actions"]
        }

    assert actions("--permute") == actions("--heads") == {"permute"}
    assert actions("--scale", "1") == {"scale"}
    assert actions("--signs") == {"sign"}
    assert actions("--mix") == {"rotate", "mix", "gain", "orthogonal"}
    assert actions("--permute", "--signs") == {"permute", "sign"}
    assert actions("--all") == {"permute", "scale", "sign", "rotate", "mix", "gain", "orthogonal"}


def test_a_table_for_people(here: Workplace) -> None:
    saved("llama", here.root / "llama")
    answer = here.peace("transform", "llama", "new", "--permute", "--seed", "7")
    assert "permute" in answer.out
    assert "model.layers.0.mlp.up_proj.hidden" in answer.out.replace("\n", "")
    assert "new is written (seed 7)" in answer.out


def test_the_seed_decides(here: Workplace) -> None:
    saved("llama", here.root / "llama")
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        here.peace("transform", "llama", name, "--all", "--noise", "0.01", "--seed", seed)
    assert not moved(here.root / "a", here.root / "b")
    assert moved(here.root / "a", here.root / "c")


def test_below_float32_all_is_exact(here: Workplace) -> None:
    source = saved("llama", here.root / "llama", torch.bfloat16)
    actions = here.peace("transform", "llama", "new", "--all", "--json").json["actions"]
    assert {row["action"] for row in actions} == {"permute", "scale", "sign"}
    old, new = weights(source), weights(here.root / "new")
    for name, values in old.items():
        assert new[name].dtype == torch.bfloat16
        mantissas = [tensor.float().abs().frexp()[0].flatten().sort()[0] for tensor in (values, new[name])]
        assert torch.equal(*mantissas)
    assert change("llama", source, here.root / "new") < 0.05
    assert "would round" in here.peace("transform", "llama", "more", "--mix", code=1).err


def test_permutations_move_stored_values_bit_for_bit(here: Workplace) -> None:
    for dtype in (torch.float32, torch.float16, torch.float8_e5m2):
        source = saved("cnn", here.root / f"{dtype}", torch.float32)
        save_file({name: x.to(dtype) for name, x in weights(source).items()}, source / "model.safetensors")
        target = here.root / f"{dtype} permuted"
        here.peace("transform", source, target, "--permute")
        old, new = weights(source), weights(target)
        assert all(
            sorted(old[name].flatten().view(torch.uint8).tolist())
            == sorted(new[name].flatten().view(torch.uint8).tolist())
            for name in old
        )
        assert any(not torch.equal(old[name].float(), new[name].float()) for name in old)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn])
def test_values_that_the_format_can_not_hold_are_refused(here: Workplace, dtype: torch.dtype) -> None:
    source = saved("cnn", here.root / "cnn", torch.float32)
    save_file({name: x.to(dtype) for name, x in weights(source).items()}, source / "model.safetensors")
    answer = here.peace("transform", "cnn", "new", "--scale", "8", code=1)
    assert "can't hold its new values" in answer.err
    assert not (here.root / "new").exists()


def test_float32_overflow_is_refused(here: Workplace) -> None:
    saved("cnn", here.root / "cnn", torch.float32)
    answer = here.peace("transform", "cnn", "new", "--scale", "60", code=1)
    assert "float32 can't hold" in answer.err


def test_shards(here: Workplace) -> None:
    specimen = FAMILIES["llama"]
    specimen.build(0).save_pretrained(here.root / "llama", max_shard_size="20KB")
    assert len([*(here.root / "llama").glob("*.safetensors")]) > 1
    here.peace("transform", "llama", "new", "--all")
    index = "model.safetensors.index.json"
    assert (here.root / "new" / index).read_text() == (here.root / "llama" / index).read_text()
    assert change("llama", here.root / "llama", here.root / "new") < TOLERANCE[torch.float64]


def test_a_file_that_torch_wrote(here: Workplace) -> None:
    source = saved("resnet_basic", here.root / "resnet")
    torch.save({"state_dict": load_file(source / "model.safetensors"), "epoch": 3}, source / "model.pt")
    assert "says what it is" not in here.peace("transform", "resnet/model.pt", "resnet/new.pt", "--all").out
    assert "config.json says what it is" in here.peace("transform", "resnet/model.pt", "new.pt", "--all").out
    new = torch.load(source / "new.pt")
    assert new["epoch"] == 3
    changed = here.root / "changed"
    saved("resnet_basic", changed)
    save_file(new["state_dict"], changed / "model.safetensors")
    assert moved(source, changed)
    assert change("resnet_basic", source, changed) < TOLERANCE[torch.float64]


def test_what_lies_beside_comes_along(here: Workplace) -> None:
    source = saved("llama", here.root / "llama")
    (source / "README.md").write_text("# A card")
    here.peace("transform", "llama", "new", "--permute")
    assert {path.name for path in (here.root / "new").iterdir()} == {path.name for path in source.iterdir()}
    assert (here.root / "new" / "README.md").read_text() == "# A card"
    FAMILIES["llama"].load(here.root / "new")


def test_noise_is_relative_and_says_that_it_is_another_function(here: Workplace) -> None:
    source = saved("resnet_basic", here.root / "resnet")
    answer = here.peace("transform", "resnet", "new", "--noise", "0.1")
    assert "not the same function" in answer.out
    old, new = weights(source), weights(here.root / "new")
    assert moved(source, here.root / "new") == {
        name for name in old if not name.endswith(("mean", "var", "tracked"))
    }
    name = max(old, key=lambda name: old[name].numel())
    assert 0.08 < float((new[name] - old[name]).std() / old[name].std()) < 0.12


def quantised(here: Workplace) -> list[str]:
    source = saved("llama", here.root / "q")
    state = weights(source)
    name = "model.layers.0.mlp.up_proj.weight"
    state[name] = (100 * state[name]).round().to(torch.int8)
    state[f"{name}_scale"] = torch.full((40, 1), 0.01)
    save_file(state, source / "model.safetensors")
    return ["q", "new", "--permute"]


def independent(here: Workplace) -> list[str]:
    state = weights(saved("resnet_basic", here.root / "r"))
    (here.root / "odd").mkdir()
    save_file({f"odd.{name}": x for name, x in state.items()}, here.root / "odd" / "model.safetensors")
    return ["odd", "new", "--permute"]


def assumed(here: Workplace, *flags: str) -> list[str]:
    state = weights(saved("cnn", here.root / "a"))
    save_file(state, here.root / "unnamed.safetensors")
    return ["unnamed.safetensors", "new.safetensors", "--permute", *flags]


def undecided(here: Workplace) -> list[str]:
    save_file({f"fc{n}.weight": torch.eye(4) for n in range(3)}, here.root / "square.safetensors")
    return ["square.safetensors", "new.safetensors", "--all", "--assume", "chain"]


def existing(here: Workplace) -> list[str]:
    saved("cnn", here.root / "cnn")
    (here.root / "new").mkdir()
    return ["cnn", "new", "--permute"]


def within(here: Workplace) -> list[str]:
    saved("cnn", here.root / "cnn")
    return ["cnn", "cnn/new", "--permute"]


def hdf5(here: Workplace) -> list[str]:
    import h5py

    with h5py.File(here.root / "net.h5", "w") as file:
        for number, shape in enumerate([(12, 10), (10, 4)]):
            file.create_dataset(f"dense_{number}/kernel", data=torch.randn(shape).numpy())
            file.create_dataset(f"dense_{number}/bias", data=torch.zeros(shape[1]).numpy())
    return ["net.h5", "new.h5", "--noise", "0.1"]


def of(name: str, *flags: str) -> Callable[[Workplace], list[str]]:
    def arguments(here: Workplace) -> list[str]:
        saved(name, here.root / name)
        return [name, "new", *flags]

    return arguments


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (of("cnn", "--signs"), "--signs applies to no group"),
        (of("cnn", "--permute", "--heads"), "--heads applies to no group"),
        (of("cnn", "--mix"), "--mix applies to no group"),
        (of("bert", "--scale", "1"), "--scale applies to no group"),
        (independent, "not known"),
        (assumed, "(groups, neighbours, positions): `--assume chain` takes it as given"),
        (undecided, "no symmetry of this network is known: no config says what it is"),
        (existing, "exists"),
        (within, "lies within"),
        (quantised, "can't be changed"),
        (hdf5, "can't be overwritten"),
        (lambda here: ["nowhere", "new", "--permute"], "no such file"),
    ],
)
def test_refusals(here: Workplace, case: Callable[[Workplace], list[str]], says: str) -> None:
    arguments = case(here)
    before = {path: path.stat().st_mtime_ns for path in here.root.rglob("*")}
    answer = here.peace("transform", *arguments, code=1)
    assert says in answer.err
    assert answer.err.startswith("peace: ")
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    after = {path: path.stat().st_mtime_ns for path in here.root.rglob("*")}
    assert {path for path in after if after[path] != before.get(path)} <= {here.root / "home"}


def test_an_assumption_may_be_taken_as_given(here: Workplace) -> None:
    here.peace("transform", *assumed(here, "--assume", "chain"))
    shutil.copytree(here.root / "a", here.root / "b")
    shutil.copy(here.root / "new.safetensors", here.root / "b" / "model.safetensors")
    assert moved(here.root / "a", here.root / "b")
    assert change("cnn", here.root / "a", here.root / "b") < TOLERANCE[torch.float64]
    found = here.peace("compare", "unnamed.safetensors", "new.safetensors", "--json").json
    assert found["verdict"] == "equivalent"
    assert found["assumes"] == [ONE_AFTER_THE_OTHER]
    assert "assuming that its layers are applied one after the other" in found["reason"]
    assert "assumes" not in here.peace("compare", "a", "b", "--json").json


def test_noise_assumes_nothing(here: Workplace) -> None:
    arguments = [*assumed(here)[:-1], "--noise", "0.1"]
    assert "is written" in here.peace("transform", *arguments).out


@pytest.mark.parametrize(
    "arguments",
    [
        ["a", "b"],
        ["a", "b", "--permute", "--assume", "magic"],
        ["a", "--permute"],
        ["a", "b", "--scale", "0"],
        ["a", "b", "--scale", "nan"],
        ["a", "b", "--noise", "-1"],
        ["a", "b", "--permute", "--seed", "-1"],
    ],
)
def test_wrong_usage(here: Workplace, arguments: list[str]) -> None:
    answer = here.peace("transform", *arguments, code=2)
    assert "Traceback" not in answer.err
    assert answer.out == ""


def test_a_killed_transformation_leaves_no_destination(here: Workplace) -> None:
    source, shape = here.root / "big", (2048, 2048)
    source.mkdir()
    save_file({f"{n}.weight": torch.zeros(shape) for n in range(12)}, source / "model.safetensors")
    process = subprocess.Popen(
        here.command("transform", "big", "new", "--permute", "--assume", "chain"),
        cwd=here.root,
        env=environment(),
    )
    while not [*here.root.glob(".new.*")] and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (here.root / "new").exists()
    here.peace("transform", "big", "new", "--permute", "--assume", "chain")
    assert (here.root / "new" / "model.safetensors").exists()
