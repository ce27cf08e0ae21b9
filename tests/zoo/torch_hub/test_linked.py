"""Links to weights in a repository's code, read without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import CrawlSummary, crawl_zoo
from peace_pipeline.zoo.current import Current
from tests.zoo.torch_hub.repositories import HOST, HUBCONF, config, links, reasons, repository, tarred, zipped

NO_WEIGHTS = "hubconf.py names no link to weights for it"


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
