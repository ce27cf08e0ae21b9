"""Where a zoo lies on disk.

``root/PLAN`` holds one folder a network and nothing else. ``root/.PLAN`` holds the rest: a marker for every
finished chunk, with the digest of what made it, the names of its networks and what it cost; profiles; chunks being
written; the lock. A chunk is written aside, then moved part by part, and marked last: whatever was killed is done
again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from peace_pipeline.lake import atomic

from .recipes import Plan

FORMAT = 1  # raise it when the same plan would give other files
PROFILES = "profiles.parquet"  # the name of a chunk's profiles while it is written


@dataclass(frozen=True)
class Store:
    """Where the chunks of one plan and seed lie."""

    root: Path
    plan: Plan
    seed: int

    @property
    def networks(self) -> Path:
        return self.root / self.plan.name

    @property
    def state(self) -> Path:
        return self.root / f".{self.plan.name}"

    def marker(self, chunk: int) -> Path:
        return self.state / f"{chunk:04d}.json"

    def profiles(self, chunk: int) -> Path:
        return profiles_folder(self.root, self.plan.name) / f"{chunk:04d}.parquet"

    def building(self, chunk: int) -> Path:
        """Where this process, and no worker orphaned by another, has a chunk written."""
        return self.state / f"building-{os.getpid()}-{chunk:04d}"

    def digest(self, chunk: int) -> str:
        """What a chunk follows from, as one hash."""
        runs = [asdict(run) for run in self.plan.runs(self.seed, chunk)]
        cause = [FORMAT, self.seed, runs]
        return hashlib.sha256(json.dumps(cause, sort_keys=True).encode()).hexdigest()

    def tidy(self, wanted: Iterable[int]) -> None:
        """Drop half-written chunks, outdated markers, and what no remaining marker names."""
        self.networks.mkdir(parents=True, exist_ok=True)
        for folder in self.state.glob("building-*"):
            shutil.rmtree(folder)
        current = {self.marker(chunk): chunk for chunk in wanted}
        present = {folder.name for folder in self.networks.iterdir()}
        kept: set[str] = set()
        profiles: set[Path] = set()
        for marker in self.state.glob("*.json"):
            content = json.loads(marker.read_text())
            if self._holds(current.get(marker), content, present):
                kept.update(content["networks"])
                profiles.add(self.profiles(current[marker]))
            else:
                marker.unlink()
        for name in present - kept:
            shutil.rmtree(self.networks / name)
        for path in set(profiles_folder(self.root, self.plan.name).glob("*")) - profiles:
            path.unlink()

    def _holds(self, chunk: int | None, marked: dict[str, object], present: set[str]) -> bool:
        """Whether a chunk's marker is wanted, up to date, and what it names is there."""
        return (
            chunk is not None
            and self.digest(chunk) == marked["digest"]
            and present.issuperset(marked["networks"])  # type: ignore[arg-type]
            and (self.profiles(chunk).exists() or not self.plan.profiled)
        )

    def publish(self, chunk: int, seconds: float) -> None:
        """Move a chunk's profiles and networks to their places and mark it finished."""
        building = self.building(chunk)
        if self.plan.profiled:
            self.profiles(chunk).parent.mkdir(exist_ok=True)
            (building / PROFILES).rename(self.profiles(chunk))
        names = sorted(folder.name for folder in building.iterdir())
        for name in names:
            (building / name).rename(self.networks / name)
        building.rmdir()
        marked = {"digest": self.digest(chunk), "networks": names, "cpu_seconds": round(seconds, 2)}
        with atomic(self.marker(chunk)) as temporary:
            temporary.write_text(json.dumps(marked))


def profiles_folder(root: Path, recipe: str) -> Path:
    """Where the profiles of the zoo ``root/recipe`` lie."""
    return root / f".{recipe}" / "profiles"
