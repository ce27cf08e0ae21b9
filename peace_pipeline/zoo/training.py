"""The ``trained`` source: networks that PEACE trains itself, from a recipe and a seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.directory import DirectorySource
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import ConfigError, Progress, register


@register("trained")
class TrainedSource(DirectorySource):
    """A zoo that is trained where it is missing, then read like any directory.

    Model ids are ``trained:RECIPE/RUN``.
    """

    source = "trained"

    def __init__(
        self, lake: Lake, base: Path, *, recipe: str = "demo", networks: int | None = None, seed: int = 0
    ) -> None:
        from peace_pipeline.zoo.trained import PLANS

        if recipe not in PLANS:
            raise ConfigError(f"source trained: no recipe {recipe!r}; there are {', '.join(PLANS)}")
        if networks is not None and (type(networks) is not int or networks < 1):
            raise ConfigError(f"source trained: networks must be a positive integer, not {networks!r}")
        self.root = lake.root / "zoo" / "trained"
        super().__init__(lake, base, path=str(self.root / recipe), label=recipe)
        self.recipe, self.networks, self.seed = recipe, networks, seed

    def crawl(self, known: Known, progress: Progress | None = None) -> Iterator[ModelRecord]:
        from peace_pipeline.zoo.trained import generate

        def trained(done: int, total: int) -> None:
            if progress:
                progress(done, total, f"training the networks of {self.recipe!r}" if done < total else "")

        generate(self.root, recipe=self.recipe, networks=self.networks, seed=self.seed, progress=trained)
        yield from super().crawl(known, progress)
