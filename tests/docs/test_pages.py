"""The pages: short, linked and true to the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.commands import PAGE, page
from tests.pipeline import Workplace, own, place

__all__ = ["own", "place"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_the_site_is_built_without_a_broken_link_or_anchor(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "glossary" / "index.html").is_file()


def test_the_first_query_of_the_readme_answers_as_it_shows(own: Workplace) -> None:
    block = re.search(r"## First query\n.*?```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    shown = re.search(r"transform (\S+)", block)[1]
    model = "directory:zoo/n000"
    commands = [
        line.replace(shown, model).split()[2:] for line in block.splitlines() if line.startswith("$ peace ")
    ]
    commands[0] += ["--assume", "chain"]  # which the networks here don't prove, as the demo's do
    transformed, searched, compared = (own.peace(*words).out for words in commands)
    assert (own.root / "disguised").is_dir(), transformed
    assert re.search(r"rank +model_id +similarity +closer than", block)
    first = next(line for line in searched.splitlines() if re.match(r"\s*1\s", line))
    assert first.split()[1:3] == [model, "1.0000"], searched
    assert compared.startswith("equivalent: in one form no layer differs by more than ")


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_that_a_page_names_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:peace_pipeline|assets|resources|tests|benchmarks|docs)/[\w./-]+)`", path.read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_commands_are_described_as_they_are() -> None:
    assert PAGE.read_text() == page(), "python -m tests.docs.commands writes it anew"
