"""The torch_hub source: entry points and links are read out of a repository's code, which is never run."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.stages.layers import layer_batch
from peace_pipeline.zoo import ConfigError, ZooConfig
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.source import SourceUnavailable
from peace_pipeline.zoo.torch_hub.linked import label_of
from peace_pipeline.zoo.torch_hub.tree import Limits, UnreadableTree, read_tree
from tests.zoo.loopback import Fault, Loopback

HOST = "https://weights.test"
NO_WEIGHTS = "hubconf.py names no link to weights for it"


def repository(folder: Path, hubconf: str, modules: dict[str, str] | None = None) -> Path:
    """A repository of a hubconf.py and other Python files."""
    for name, text in {"hubconf.py": hubconf, **(modules or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def config(place: Path | str, **options: str) -> ZooConfig:
    return ZooConfig(({"kind": "torch_hub", "repository": str(place), **options},), Path("/"))


def links(lake: Lake, place: Path | str) -> dict[str, str]:
    """Entry → URL of every model, after a crawl."""
    crawl_zoo(lake, config(place))
    return {
        model_id.partition("/")[2]: record.uri
        for model_id, record in Current(lake).records().items()
        if record.status == "new"
    }


def reasons(summary: CrawlSummary) -> dict[str, str]:
    return {entry["model_id"].partition("/")[2]: entry["reason"] for entry in summary.skipped}


def test_a_table_of_links(lake: Lake, tmp_path: Path) -> None:
    text = f'''
dependencies = ["torch", "numpy"]
from torch.hub import load_state_dict_from_url as load

urls = {{"small": "{HOST}/small-0123abcd.pth", "large": "{HOST}/large-20240131.pth"}}
urls["tiny"] = "{HOST}/tiny.safetensors"

def small(pretrained=False, **kwargs):
    """A small network.

    For pictures.
    """
    model = Net(4, **kwargs)
    if pretrained:
        model.load_state_dict(load(urls["small"], progress=True))
    return model

def large(pretrained=False):
    return _load(urls.get("large"))

tiny = lambda: load(urls["tiny"])

def plain(width=3):
    return Net(width)

def _hidden():
    return load(urls["small"])
'''
    place = repository(tmp_path / "repo", text)
    summary = crawl_zoo(lake, config(place))
    assert summary.new == [f"torch_hub:repo/{name}" for name in ("small", "large", "tiny", "plain")]
    assert reasons(summary) == {"plain": NO_WEIGHTS}
    small, large = (Current(lake).records()[f"torch_hub:repo/{name}"] for name in ("small", "large"))
    assert (small.uri, small.card, small.tags, small.architecture, small.library) == (
        f"{HOST}/small-0123abcd.pth", "A small network.\n\nFor pictures.", ("torch", "numpy"), "small", "pytorch",
    )  # fmt: skip
    (file,) = small.files
    assert (file.path, file.size, file.sha256, file.format) == (
        "small-0123abcd.pth", None, "0123abcd", "pytorch",
    )  # fmt: skip
    assert large.files[0].sha256 is None, "a date is no digest"
    assert not crawl_zoo(lake, config(place)).batches


STYLES = {
    "f-string": 'BASE = "{H}"\nVERSION = 2\n'
    'def net(pretrained=True):\n    load_url(f"{BASE}/v{VERSION}/net.pth")',
    "percent": 'URL = "{H}/v%d/%s.pth"\ndef net():\n    load_url(URL % (2, "net"))',
    "format": 'URL = "{H}/v{}/{name}.pth"\ndef net():\n    load_url(URL.format(2, name="net"))',
    "records": "from dataclasses import dataclass\n@dataclass\nclass _Config:\n    url: str\n    size: int = 3\n"
    "CONFIGS = {'net': _Config(url='{H}/v2/net.pth')}\ndef net():\n    load_url(CONFIGS['net'].url)",
    "enumeration": "class Entry:\n    def fetch(self):\n        return load_url(self.url)\n"
    "class _Net(Enum):\n    ONE = Entry(url='{H}/v2/net.pth')\n    DEFAULT = ONE\n"
    "    @classmethod\n    def named(cls, name):\n        return cls[name]\n"
    "def net(weights=None):\n    weights = _Net.named(weights)\n    weights.get_state_dict(check=True)",
    "digests": "BASE = '{H}/v2/{}{}.pth'\nSUMS = {name: sum for sum, name in [('t0123', 'ne'), ('x4567', 'xx')]}\n"
    "def _short(name):\n    if name not in SUMS:\n        raise ValueError(name)\n    return SUMS[name][:1]\n"
    "URLS = {name: BASE.format(name, _short(name)) for name in SUMS.keys()}\n"
    "def net():\n    return load_url(URLS['ne'])",
    "template": "def _load(template, name):\n    load_url(template.format(name))\n"
    "def net():\n    _load('{H}/v2/{}.pth', 'net')\n    wget('{H}/%s.pth')",
    "sum": 'def net():\n    url = "{H}/v2/"\n    url += "net" + ".pth"\n    return load_url(url)',
    "path": 'import os.path as osp\nROOT = "{H}"\ndef net():\n    load_url(osp.join(ROOT, "v2", "net.pth"))',
    "default": 'def net(url="{H}/v2/net.pth", progress=True):\n    load_url(url)',
    "keyword": 'import torch\ndef net():\n    torch.hub.load_state_dict_from_url(url="{H}/v2/net.pth")',
    "helper": 'def _url(name):\n    return f"{H}/v2/{name}.pth"\n'
    "def _make(name, pretrained, **kwargs):\n    if pretrained:\n        load_url(_url(name))\n"
    'def net(pretrained=False, **kwargs):\n    return _make("net", pretrained, **kwargs)',
    "partial": 'from functools import partial\ndef _make(name, other):\n    load_url(f"{H}/v2/{name}.pth")\n'
    'net = partial(_make, "net", other=1)',
    "branches": "def _make(kind):\n    if kind == 'net':\n        url = '{H}/v2/net.pth'\n    else:\n"
    "        url = '{H}/v2/other.pth'\n    return load_url(url)\ndef net():\n    return _make('net')",
    "class": "class _Net:\n    URL = '{H}/v2/net.pth'\n    def __init__(self, pretrained):\n"
    "        self.load() if pretrained else None\n    def load(self):\n        load_url(self.URL)\n"
    "def net(pretrained=True):\n    return _Net(pretrained=pretrained)",
    "classmethod": "class _Net:\n    @classmethod\n    def make(cls, name):\n        load_url(cls.URLS[name])\n"
    "    URLS = {n: f'{H}/v2/{n}.pth' for n in ['net', 'other']}\ndef net():\n    return _Net.make('net')",
    "unpacked": "COMMON = dict(url='{H}/v2/net.pth', size=3)\nCONFIGS = {'net': {**COMMON, 'size': 4}}\n"
    "def net():\n    load_url(CONFIGS['net']['url'])",
    "loop": "URLS = ['{H}/v2/net.pth']\ndef net():\n    for url in URLS:\n        load_url(url)",
    "try": "try:\n    import absent\nexcept ImportError:\n    absent = None\n"
    "def net():\n    try:\n        load_url('{H}/v2/net.pth')\n    except Exception as error:\n        raise error",
    "nested": "def net():\n    def _load():\n        with lock():\n            return load_url('{H}/v2/net.pth')\n"
    "    return _load()",
}


@pytest.mark.parametrize("style", STYLES)
def test_ways_to_name_a_link(lake: Lake, tmp_path: Path, style: str) -> None:
    text = STYLES[style].replace("{H}", HOST)
    assert links(lake, repository(tmp_path / "repo", text)) == {"net": f"{HOST}/v2/net.pth"}


def test_modules_of_the_repository_are_followed(lake: Lake, tmp_path: Path) -> None:
    place = repository(
        tmp_path / "repo",
        "from pkg.models import one as _one, two\nimport pkg.zoo.three as zoo\nfrom pkg.zoo import *\n"
        "from lib.inner import four\ndef one(**kw):\n    return _one(**kw)\ndef three():\n    return zoo.build()\n",
        {
            "pkg/__init__.py": "from .urls import URLS\n",
            "pkg/models.py": "from . import URLS\nfrom .util import load\n"
            "def one(size='s'):\n    return load(URLS['one'])\ndef two():\n    return load(URLS['two'])\n",
            "pkg/urls.py": f"URLS = {{name: '{HOST}/' + name + '.pth' for name in ('one', 'two')}}\n",
            "pkg/util.py": "from torch.hub import load_state_dict_from_url\nfrom .models import one\n"
            "def load(url):\n    return load_state_dict_from_url(url, check_hash=True)\n",
            "pkg/zoo/three.py": f"def build():\n    load_url('{HOST}/three.pth')\n",
            "pkg/zoo/__init__.py": f"__all__ = ['five']\ndef five():\n    load_url('{HOST}/five.pth')\n"
            f"def six():\n    load_url('{HOST}/six.pth')\n",
            "src/lib/inner.py": f"def four():\n    load_url('{HOST}/four.pth')\n",
        },
    )
    assert links(lake, place) == {
        name: f"{HOST}/{name}.pth" for name in ("one", "two", "three", "four", "five")
    }


def test_an_entry_point_with_several_files(lake: Lake, tmp_path: Path) -> None:
    text = f'''
URLS = {{"a": "{HOST}/a.pth", "b": "{HOST}/x/b.pth", "c": "{HOST}/y/b.pth", "notes": "{HOST}/b.txt"}}
def net(kind="a"):
    return load_url(URLS[kind]) if kind != "notes" else None
def pickled():
    download_url_to_file("{HOST}/words.txt")
    return load_url("{HOST}/file?id=7")
'''
    found = links(lake, repository(tmp_path / "repo", text))
    assert len(found) == 5
    assert found["net/a.pth"] == f"{HOST}/a.pth"
    clashing = {url for name, url in found.items() if name.startswith("net/b.pth@")}
    assert clashing == {f"{HOST}/x/b.pth", f"{HOST}/y/b.pth"}
    assert found["pickled"] == f"{HOST}/file?id=7"
    assert Current(lake).records()["torch_hub:repo/pickled"].files[0].path == "file.pth"


def test_imports_that_fail_and_code_that_must_not_run(lake: Lake, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    act = f"open({str(marker)!r}, 'w').close()"
    text = f'''
import absent_package
from absent_package.models import Missing, resnet as missing
{act}
from pkg.eager import eager
def net(url="{HOST}/net.pth", action={act}):
    {act}
    exec({act!r})
    return load_url(url)
if True:
    raise SystemExit(1)
'''
    place = repository(
        tmp_path / "repo",
        text,
        {
            "pkg/__init__.py": act,
            "pkg/eager.py": f"{act}\nclass Eager(metaclass={act}):\n    {act}\n@{act}\ndef eager():\n    {act}\n",
        },
    )
    summary = crawl_zoo(lake, config(place))
    assert reasons(summary) == {
        "missing": "it is imported from absent_package.models, which the repository does not hold",
        "eager": NO_WEIGHTS,
    }
    assert "torch_hub:repo/net" in summary.new
    assert not marker.exists()


def test_models_that_change_and_go(lake: Lake, tmp_path: Path) -> None:
    def crawled(*names: str, url: str = f"{HOST}/net.pth") -> CrawlSummary:
        text = "\n".join(f"def {name}():\n    load_url('{url}')" for name in names)
        return crawl_zoo(lake, config(repository(tmp_path / "repo", text)))

    assert crawled("a", "b").new == ["torch_hub:repo/a", "torch_hub:repo/b"]
    summary = crawled("a", url=f"{HOST}/new.pth")
    assert (summary.changed, summary.deleted) == (["torch_hub:repo/a"], ["torch_hub:repo/b"])
    assert not crawled("a", url=f"{HOST}/new.pth").batches
    (tmp_path / "repo" / "hubconf.py").write_text("def a(:")
    summary = crawl_zoo(lake, config(tmp_path / "repo"))
    assert (summary.new, summary.deleted) == (["torch_hub:repo/hubconf.py"], [])
    assert "invalid syntax (line 1)" in reasons(summary)["hubconf.py"]
    assert not crawl_zoo(lake, config(tmp_path / "repo")).batches
    assert crawled("a", url=f"{HOST}/new.pth").deleted == ["torch_hub:repo/hubconf.py"]


HUBCONF = "from net.urls import URL\ndef net():\n    load_url(URL)\n"


def zipped(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def tarred(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize(
    ("write", "name"), [(zipped, "repo.zip"), (tarred, "repo.tar.gz"), (tarred, "repo.tgz")]
)
@pytest.mark.parametrize("top", ["", "repo-1.0/"])
def test_archives(lake: Lake, tmp_path: Path, write: object, name: str, top: str) -> None:
    members = {
        f"{top}hubconf.py": HUBCONF,
        f"{top}net/urls.py": f"URL = '{HOST}/net.pth'",
        f"{top}examples/hubconf.py": "def other():\n    load_url('https://other.test/x.pth')",
        "../hubconf.py": "def evil(): pass",
        "/hubconf.py": "def evil(): pass",
    }
    place = write(tmp_path / name, members)  # type: ignore[operator]
    assert links(lake, place) == {"net": f"{HOST}/net.pth"}
    assert {model_id.partition("/")[0] for model_id in Current(lake).records()} == {"torch_hub:repo"}


HOSTILE = {
    "not text": (b"\xff\xfe\x00\xffdef net(): pass", "hubconf.py"),
    "null bytes": (b"def net():\x00 pass", "hubconf.py"),
    "deep": (b"x = " + b"(" * 5000 + b")" * 5000, "hubconf.py"),
    "deep signs": (b"x = " + b"-" * 200_000 + b"1", "hubconf.py"),
    "deep blocks": (b"".join(b" " * n + b"if x:\n" for n in range(300)), "hubconf.py"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hubconf_that_is_not_python(lake: Lake, tmp_path: Path, case: str) -> None:
    text, entry = HOSTILE[case]
    place = repository(tmp_path / "repo", "")
    (place / "hubconf.py").write_bytes(text)
    summary = crawl_zoo(lake, config(place))
    assert reasons(summary).keys() == {entry}
    assert len(reasons(summary)[entry]) < 300


GOOD = f"\ndef good():\n    load_url('{HOST}/good.pth')\n"
GREEDY = {
    "long sum": "x = " + "+".join(["'a'"] * 1500),
    "doubling": "a = 'a'\n" + "a = a + a\n" * 200,
    "doubled lists": "a = [1]\n" + "a = [*a, *a]\n" * 100 + "b = {'a': a}\n" + "b = {**b, 'c': b}\n" * 100,
    "wide format": "def bad():\n    load_url('{H}/%999999999d.pth' % 1)\n    load_url('{:>999999999}'.format(1))",
    "recursion": "def bad(x=1):\n    return bad(x) + bad(x) + load_url(bad(x))",
    "calls": "\n".join(f"def _f{n}(): {f'_f{n + 1}(); ' * 4}" for n in range(14)) + "\ndef bad(): _f0()",
    "products": "r = [1] * 9\nr = [(a,b,c,d) for a in '1'*999 for b in range(999)]\n"
    "w = list('abcdefghij')\nx = [f'{a}{b}{c}{d}{e}{f}' for a in w for b in w for c in w for d in w]\n"
    "y = ['a','b','c','d','e','f','g','h','i','j']\n"
    "z = [a+b+c+d+e+f+g for a in y for b in y for c in y for d in y for e in y for f in y for g in y]",
    "circles": "from hubconf import *\nfrom hubconf import circle\nimport hubconf\nx = hubconf.x\n"
    "def bad():\n    return circle()",
    "surrogates": "def bad():\n    '''\\ud800'''\n    load_url('https://x.test/\\ud800.pth')",
    "odd links": "def bad():\n    load_url('http://[x.pth', 'http://\u2100.test/x.pth', 'http:///x.pth')\n"
    "    load_url('http://x.test/%00/..%2F..%2F\u00e9nnnnnnnnnn{N}.pth', 'http://x.test/..', 'http://x.test')",
    "odd arguments": "def bad(a, /, b, *c, d=3, **e):\n    load_url(*a, **e)\n    return bad(*c, *d, **b)",
}


@pytest.mark.parametrize("case", GREEDY)
def test_code_that_would_take_all_time_or_memory(lake: Lake, tmp_path: Path, case: str) -> None:
    assert links(lake, repository(tmp_path / "repo", GREEDY[case] + GOOD))["good"] == f"{HOST}/good.pth"


CHOICE = "".join(f"{'x' * 1900 + str(n)!r} if u else " for n in range(16)) + "''\n"
TEN = "t = ['a','b','c','d','e','f','g','h','i','j']\n"
MANY = "a = [1]\n" + "a = [*a, *a]\n" * 13
WIDE = {
    "texts": f"a = {CHOICE}b = {CHOICE}" + "".join(f"v{n} = a + b + '{n}'\n" for n in range(100)),
    "slices": MANY + "".join(f"v{n} = a[:]\n" for n in range(400)),
    "arguments": MANY + "".join(f"v{n} = f(*a)\n" for n in range(400)),
    "merges": f"{TEN}d = {{x+y+z: 1 for x in t for y in t for z in t}}\n"
    + "".join(f"v{n} = {{**d}}\n" for n in range(1000)),
}


@pytest.mark.parametrize("case", WIDE)
def test_many_large_values(lake: Lake, tmp_path: Path, case: str) -> None:
    place = repository(tmp_path / "repo", WIDE[case] + GOOD)
    tracemalloc.start()
    crawl_zoo(lake, config(place))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert Current(lake).records()["torch_hub:repo/good"].uri == f"{HOST}/good.pth"
    assert peak < 16 << 20


def test_large_values_in_many_modules(lake: Lake, tmp_path: Path) -> None:
    texts = "".join(f"v{n} = a + b + '{n}'\n" for n in range(20))
    modules = {f"m{n}.py": f"from m import a, b\n{texts}" for n in range(20)}
    stars = "".join(f"from m{n} import *\n" for n in range(20))
    place = repository(tmp_path / "repo", stars + GOOD, {"m.py": f"a = {CHOICE}b = {CHOICE}", **modules})
    tracemalloc.start()
    crawl_zoo(lake, config(place))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_names_of_files_stay_in_their_folder(lake: Lake, tmp_path: Path) -> None:
    crawl_zoo(lake, config(repository(tmp_path / "repo", GREEDY["odd links"].replace("{N}", "n" * 300))))
    names = [record.files[0].path for record in Current(lake).records().values() if record.files]
    assert len(names) == 3
    assert all(Path(name).name == name and name.isascii() and len(name) <= 204 for name in names)


def test_code_that_is_too_large_says_so(lake: Lake, tmp_path: Path) -> None:
    summary = crawl_zoo(lake, config(repository(tmp_path / "repo", GREEDY["calls"])))
    assert reasons(summary) == {"bad": "its code is too large to be followed to the weights"}


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(100), b"\x1f\x8b" + bytes(50)])
def test_an_archive_that_is_none(lake: Lake, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "repo.zip").write_bytes(content)
    (reason,) = reasons(crawl_zoo(lake, config(tmp_path / "repo.zip"))).values()
    assert "no folder or archive that can be read" in reason


def test_archives_that_are_cut_or_grow(lake: Lake, tmp_path: Path) -> None:
    whole = tarred(tmp_path / "repo.tar.gz", {"hubconf.py": HUBCONF, "x.py": os.urandom(5000).hex()})
    whole.write_bytes(whole.read_bytes()[:-1000])
    assert "can be read" in next(iter(reasons(crawl_zoo(lake, config(whole))).values()))
    bomb = tarred(tmp_path / "bomb.tar.gz", {"zeros.bin": "0" * (2 << 20), "hubconf.py": HUBCONF})
    with pytest.raises(UnreadableTree, match="unpacks to more than"):
        read_tree(bomb, Limits(unpacked=1 << 20))
    bomb = zipped(tmp_path / "bomb.zip", {"a.py": "#" * (2 << 20), "hubconf.py": HUBCONF})
    with pytest.raises(UnreadableTree, match="more than 1048576 bytes of Python"):
        read_tree(bomb, Limits(sources=1 << 20))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("compression", ["", "gz", "bz2"])
@pytest.mark.parametrize("before", [0, 1])
def test_headers_that_would_fill_the_memory(
    tmp_path: Path, kind: bytes, compression: str, before: int
) -> None:
    with tarfile.open(tmp_path / "repo.tar", f"w:{compression}") as archive:  # type: ignore[call-overload]
        for _ in range(before):
            archive.addfile(tarfile.TarInfo("hubconf.py"))
        header = tarfile.TarInfo("x")
        header.type, header.size = kind, 4 << 20
        archive.addfile(header, io.BytesIO(bytes(header.size)))
        archive.addfile(tarfile.TarInfo("y"))
    with pytest.raises(UnreadableTree, match="headers of a member take more than"):
        read_tree(tmp_path / "repo.tar")


def test_an_archive_of_very_many_files(tmp_path: Path) -> None:
    three = tarred(tmp_path / "a.tar.gz", dict.fromkeys(["a.py", "b.py", "c"], ""))
    assert len(read_tree(three, Limits(members=3)).sources) == 2
    with pytest.raises(UnreadableTree, match="more than 2 files"):
        read_tree(three, Limits(members=2))


def test_an_archive_that_could_ask_for_any_memory_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "repo.tar.xz", "w:xz") as archive:
        archive.addfile(tarfile.TarInfo("hubconf.py"))
    with pytest.raises(UnreadableTree, match="no folder or archive that can be read"):
        read_tree(tmp_path / "repo.tar.xz")


@pytest.mark.parametrize(
    ("place", "label"),
    [
        ("/a/repo", "repo"),
        ("/a/repo-1.2", "repo-1.2"),
        ("repo.tar.gz", "repo"),
        ("repo-1.2-py3-none-any.whl", "repo"),
        ("https://host.test/owner/repo/archive/refs/heads/main.zip", "repo"),
        ("https://host.test/owner/repo/-/archive/v1/repo-v1.tar.gz", "repo"),
        ("https://host.test/owner/repo/zip/main", "repo"),
        ("https://host.test/files/repo.tgz?download=1", "repo"),
    ],
)
def test_names_of_repositories(place: str, label: str) -> None:
    assert label_of(place) == label


def test_a_place_that_is_not_there(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 is no path"):
        crawl_zoo(lake, ZooConfig(({"kind": "torch_hub", "repository": 3},), tmp_path))
    for place in (tmp_path / "nowhere", "no-package", "no_package"):
        with pytest.raises(ConfigError, match="no folder or archive"):
            crawl_zoo(lake, config(place))
    with pytest.raises(ConfigError, match="label"):
        crawl_zoo(lake, config(tmp_path, label="a/b"))
    (reason,) = reasons(crawl_zoo(lake, config(tmp_path))).values()
    assert reason == f"{tmp_path}: it holds no hubconf.py"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server; waits between attempts take no time."""
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with Loopback() as server:
        yield server


def test_from_an_archive_at_a_url_to_readable_models(
    lake: Lake, tmp_path: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    torch.save({"0.weight": torch.randn(4, 3), "1.weight": torch.randn(3, 4)}, tmp_path / "net.pth")
    weights = (tmp_path / "net.pth").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()[:8]
    names = [f"good-{digest}.pth", "wrong-00000000.pth", "gone.pth", "broken.pth"]
    server.files |= {f"/w/{name}": weights for name in names[:2]}
    server.files["/w/broken.pth"] = b"no weights"
    entries = {name.partition("-")[0].partition(".")[0]: name for name in names}
    code = "\n".join(
        f"def {entry}():\n    load_url('{server.url}/w/{name}')" for entry, name in entries.items()
    )
    archive = "/owner/repo/archive/main.zip"
    server.files[archive] = zipped(tmp_path / "main.zip", {"repo-main/hubconf.py": code}).read_bytes()

    place = config(server.url + archive)
    summary = crawl_zoo(lake, place)
    assert summary.new == [f"torch_hub:repo/{entry}" for entry in ("good", "wrong", "gone", "broken")]
    assert {path for path, _ in server.answered} == {archive}, "a crawl downloads no weights"
    assert not crawl_zoo(lake, place).batches
    assert server.answered == [(archive, 200), (archive, 304)]

    (batch,) = summary.batches
    fetcher = Fetcher(place.build(lake))
    assert extract_batch(lake, batch, fetcher).models == 1
    skipped = {
        entry["model_id"].partition("/")[2]: entry["reason"] for entry in skipped_models_of(lake, batch)
    }
    assert "00000000" in skipped["wrong"]
    assert server.answered.count(("/w/wrong-00000000.pth", 200)) == 2
    assert "404" in skipped["gone"]
    assert "broken.pth" in skipped["broken"]
    assert layer_batch(lake, batch, fetcher).models == 1
    assert server.answered.count((f"/w/good-{digest}.pth", 200)) == 1, (
        "the second stage has the first one's copy"
    )
    assert not list((lake.root / "zoo" / "torch_hub" / "weights").rglob("good*"))
    again = crawl_zoo(lake, place)
    assert again.changed == ["torch_hub:repo/wrong"], "what failed for good is not tried again"
    assert not crawl_zoo(lake, place).batches

    server.files[archive] = zipped(tmp_path / "new.zip", {"repo-main/hubconf.py": GOOD}).read_bytes()
    summary = crawl_zoo(lake, place)
    assert (summary.changed, len(summary.deleted)) == (["torch_hub:repo/good"], 3)


def skipped_models_of(lake: Lake, batch: str) -> list[dict[str, str]]:
    """The models that extraction skipped."""
    import pyarrow.parquet as pq

    rows = pq.read_table(lake.inventory(batch), columns=["model_id", "status", "reason"]).to_pylist()
    return [row for row in rows if row["status"] == "skipped"]


def test_an_archive_that_cannot_be_had(lake: Lake, tmp_path: Path, server: Loopback) -> None:
    place = config(f"{server.url}/repo.zip")
    with pytest.raises(SourceUnavailable, match=r"source torch_hub: http.*/repo\.zip: 404 Not Found"):
        crawl_zoo(lake, place)
    server.files["/repo.zip"] = zipped(tmp_path / "repo.zip", {"hubconf.py": GOOD}).read_bytes()
    assert crawl_zoo(lake, place).new == ["torch_hub:repo/good"]
    for faults in ([Fault(500)] * 5, [Fault(404)], [Fault(body=b"0" * 99, cut=True)] * 5):
        server.faults["/repo.zip"] = faults
        with pytest.raises(SourceUnavailable):
            crawl_zoo(lake, place)
    assert Current(lake).records()["torch_hub:repo/good"].status == "new"
    server.faults["/repo.zip"] = [Fault(body=b"0" * 99, cut=True)]
    assert not crawl_zoo(lake, place).batches


def test_a_model_that_could_not_be_had_for_now_is_offered_again(
    lake: Lake, tmp_path: Path, server: Loopback
) -> None:
    torch.save({"0.weight": torch.ones(4, 3), "1.weight": torch.ones(3, 4)}, tmp_path / "net.pth")
    server.files["/net.pth"] = (tmp_path / "net.pth").read_bytes()
    server.faults["/net.pth"] = [Fault(503, headers={"Retry-After": "1"})] * 5
    code = f"def net():\n    load_url('{server.url}/net.pth')"
    place = config(repository(tmp_path / "repo", code))
    (batch,) = crawl_zoo(lake, place).batches
    assert extract_batch(lake, batch, Fetcher(place.build(lake))).skipped == 1
    (batch,) = crawl_zoo(lake, place).batches
    assert extract_batch(lake, batch, Fetcher(place.build(lake))).models == 1
