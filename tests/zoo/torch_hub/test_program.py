"""Code that is none, or that would take all time or memory to be read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.zoo.current import Current
from tests.zoo.torch_hub.repositories import GOOD, HOST, config, links, reasons, repository

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
