"""What a user installs: a wheel of the library, the assets and the resources, under one name."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.pipeline import Workplace, place

pytest.importorskip("setuptools", minversion="77")

__all__ = ["place"]
ROOT = Path(__file__).parents[1]
BUILDS = """
import sys
from setuptools import build_meta
print(getattr(build_meta, "build_" + sys.argv[1])(sys.argv[2]))
"""


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build a ``wheel`` or an ``sdist`` of a source tree as pip does, but without an environment of its own."""
    done = subprocess.run(
        [sys.executable, "-c", BUILDS, kind, str(folder)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, since building writes into it."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("peace_pipeline", "assets", "resources"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    ignored = shutil.ignore_patterns("build", "*.egg-info")
    shutil.copytree(ROOT / "client", folder / "client", symlinks=True, ignore=ignored)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def client(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source / "client", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("installed"))


def install(wheel: Path, folder: Path) -> Path:
    """A virtual environment with the wheel, on top of the packages that run this test."""
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    packages = [path for path in sys.path if path.endswith("-packages")]
    (site_packages(folder) / "below.pth").write_text("\n".join(packages))
    return folder


def site_packages(folder: Path) -> Path:
    (found,) = folder.glob("lib/python*/site-packages")
    return found


def files(folder: Path) -> Iterator[str]:
    """What a package of this tree consists of, through the links to ``assets`` and ``resources``."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            yield from files(path)
        elif path.is_file():
            yield str(path.relative_to(ROOT))


def test_everything_in_the_tree_is_in_the_wheel_under_one_name(wheel: Path) -> None:
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == set(files(ROOT / "peace_pipeline"))


def test_a_wheel_of_the_source_distribution_is_the_same(source: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    again = build("wheel", unpacked, tmp_path)
    assert sorted(ZipFile(again).namelist()) == sorted(ZipFile(wheel).namelist())


def test_the_client_is_the_same_package_with_fewer_dependencies(wheel: Path, client: Path) -> None:
    assert modules_in(client) == modules_in(wheel)
    whole, own = metadata_of(wheel), metadata_of(client)
    assert own["Version"] == whole["Version"]
    assert set(own.get_all("Requires-Dist")) < set(whole.get_all("Requires-Dist"))


def modules_in(wheel: Path) -> set[str]:
    return {name for name in ZipFile(wheel).namelist() if name.endswith(".py")}


def metadata_of(wheel: Path) -> Message:
    (name,) = (name for name in ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(ZipFile(wheel).read(name))


ASKS = """
import sys
from importlib.abc import MetaPathFinder
lacking = set(sys.argv[2].split(","))

class Lacking(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in lacking:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Lacking())
from peace_pipeline import Index
print(*(hit.model_id for hit in Index.open(sys.argv[1]).search("directory:zoo/n003", k=3)))
from peace_pipeline.cli.app import app
for words in ("search directory:zoo/n003", "search --text cat", "list", "list --skipped", "show directory:zoo/n003",
              "status", "report", "embed ."):
    sys.stdout.flush()
    try:
        app([*words.split(), "--home", sys.argv[1]])
    except SystemExit as end:
        print(words, "exits", end.code)
"""


def test_what_the_client_asks_needs_nothing_else(client: Path, place: Workplace, tmp_path: Path) -> None:
    lacking = packages_distributions().keys() - {"peace_pipeline", *of_the_client()}
    assert {"torch", "dagster", "mlflow"} <= lacking
    python = install(client, tmp_path / "installed") / "bin" / "python"
    own = place.copy(tmp_path / "place")
    (own.lake.encoders / "current").unlink()  # so that the encoder that the package ships is the current one
    command = [python, "-c", ASKS, str(own.lake.root), ",".join(lacking)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ended = [line for line in done.stdout.splitlines() if " exits " in line]
    assert len(ended) == 8
    assert all(line.endswith("exits 0") for line in ended[:-1]), done.stderr
    assert ended[-1] == "embed . exits 1"
    assert "peace: the client lacks torch: install peace-pipeline in its place" in done.stderr


def of_the_client() -> Iterator[str]:
    """Top-level names of what the client installs, of this environment's versions."""
    with (ROOT / "client" / "pyproject.toml").open("rb") as file:
        waiting = [Requirement(text) for text in tomllib.load(file)["project"]["dependencies"]]
    tops = packages_distributions()
    seen: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        waiting += map(Requirement, requires(name) or ())
    for top, names in tops.items():
        if seen & {canonicalize_name(name) for name in names}:
            yield top


def test_it_adds_one_name_to_site_packages_and_one_command(installed: Path) -> None:
    names = {path.name for path in site_packages(installed).iterdir()} - {"below.pth"}
    assert {name for name in names if not name.endswith(".dist-info")} == {"peace_pipeline"}
    shown = subprocess.run(
        [installed / "bin" / "peace", "--help"], cwd=installed, capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stderr
    assert "peace [OPTIONS] COMMAND" in shown.stdout


def test_dagster_loads_it(installed: Path) -> None:
    validate = ["-m", "dagster", "definitions", "validate", "-m", "peace_pipeline.definitions"]
    done = subprocess.run(
        [installed / "bin" / "python", *validate], cwd=installed, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where = "from peace_pipeline import assets, definitions; print(definitions.__file__, assets.__file__)"
    found = subprocess.run(
        [installed / "bin" / "python", "-c", where], cwd=installed, capture_output=True, text=True
    )
    assert all(Path(path).is_relative_to(installed) for path in found.stdout.split()), found
