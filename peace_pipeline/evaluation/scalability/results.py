"""What the report on scalability found: costs, the exponents fitted to them, and what many models would take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from peace_pipeline.evaluation.baselines.flattened import values
from peace_pipeline.evaluation.baselines.statistics import canonical_features, features
from peace_pipeline.evaluation.embedder import WEIGHTS_ALONE
from peace_pipeline.evaluation.scalability.embedding import Cost
from peace_pipeline.evaluation.scalability.indexing import IndexCost

METHOD_TITLES = {
    WEIGHTS_ALONE: "PEACE, weights alone",
    features.__name__: "Layer statistics",
    canonical_features.__name__: "Layer statistics, scale-canonical",
    values.__name__: "Flattened weights",
}
HUB, MEANS = 2_000_000, (10**6, 10**7, 10**8)
"""Models, and the mean number of weights of a model, that are extrapolated to."""
RECALL = 0.95
"""What the index should find of the ten nearest."""


@dataclass(frozen=True)
class Sizes:
    """Weights of single networks, numbers of the lake's networks, rows of an index and searches in each."""

    weights: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)
    networks: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048, 4096)
    rows: tuple[int, ...] = (10**4, 10**5, 10**6)
    queries: int = 200


DEFAULT = Sizes()


@dataclass(frozen=True)
class Results:
    """Everything that the report shows: ``by_size`` is method → weights → cost, ``by_number`` networks → cost,
    ``by_rows`` rows → cost of the index. ``mean_weights`` is that of the networks of the lake which were embedded."""

    encoder_version: str
    seed: int
    sizes: Sizes
    mean_weights: float
    by_size: Mapping[str, Mapping[int, Cost]]
    by_number: Mapping[int, Cost]
    by_rows: Mapping[int, IndexCost]

    def exponents(self) -> dict[str, float]:
        """What each cost grows like, as a power of what it is a cost of."""
        costs: dict[str, dict[int, float]] = {
            f"seconds of {METHOD_TITLES[name]} by weights": {size: cost.seconds for size, cost in of.items()}
            for name, of in self.by_size.items()
        }
        costs["seconds by networks"] = {count: cost.seconds for count, cost in self.by_number.items()}
        costs["seconds to build an index by rows"] = {rows: cost.built for rows, cost in self.by_rows.items()}
        for kind in ("exact", "indexed"):
            costs[f"median seconds of {'an' if kind[0] in 'ei' else 'a'} {kind} search by rows"] = {
                rows: getattr(cost, kind).latency["p50"] for rows, cost in self.by_rows.items()
            }
        return {name: exponent(of) for name, of in costs.items()}

    @property
    def seconds_a_weight(self) -> float:
        """Of the largest network."""
        largest = max(self.by_size[WEIGHTS_ALONE])
        return self.by_size[WEIGHTS_ALONE][largest].seconds / largest

    @property
    def seconds_a_network(self) -> float:
        """Of networks of a lake, by the two largest numbers: what all share is not counted."""
        counts = sorted(self.by_number)[-2:]
        return slope({count: self.by_number[count].seconds for count in counts})

    def hours(self, mean: int, models: int = HUB) -> float:
        """Hours of one core to read and embed so many models of ``mean`` weights out of a lake: what a network of the
        lake takes, and for the weights that it has less than ``mean`` what a weight takes."""
        more = max(0.0, mean - self.mean_weights)
        return models * (self.seconds_a_network + more * self.seconds_a_weight) / 3600

    def bytes(self, models: int = HUB) -> tuple[float, float]:
        """Bytes of rows and of indexes of so many models, in proportion to the largest index."""
        rows = max(self.by_rows)
        return tuple(
            models / rows * each for each in (self.by_rows[rows].row_bytes, self.by_rows[rows].index_bytes)
        )  # type: ignore[return-value]

    def hours_to_index(self, models: int = HUB) -> float:
        """Hours to write and index so many rows, in proportion to the largest index."""
        rows = max(self.by_rows)
        return models / rows * (self.by_rows[rows].written + self.by_rows[rows].built) / 3600

    def seconds_to_search(self, kind: str, models: int = HUB) -> float:
        """Median seconds of a search among so many rows, by the exponent over the two largest indexes."""
        latency = {
            rows: getattr(cost, kind).latency["p50"] for rows, cost in sorted(self.by_rows.items())[-2:]
        }
        largest = max(latency)
        power = exponent(latency)
        return latency[largest] * (models / largest) ** (power if np.isfinite(power) else 0.0)

    def losses(self) -> list[str]:
        """Where another method is cheaper, and where the index finds too little, a sentence each."""
        lines, own = [], self.by_size[WEIGHTS_ALONE]
        for name, of in self.by_size.items():
            ratios = {size: own[size].seconds / cost.seconds for size, cost in of.items()}
            cheaper = [size for size, ratio in ratios.items() if ratio > 1]
            if cheaper:
                most = max(cheaper, key=ratios.__getitem__)
                lines.append(
                    f"{METHOD_TITLES[name]}: cheaper than PEACE for {len(cheaper)} of {len(of)} sizes of a network, "
                    f"most so at {most:,} weights ({duration(of[most].seconds)}, PEACE "
                    f"{duration(own[most].seconds)})."
                )
        lines += [
            f"Among {rows:,} rows the index finds {cost.indexed.recall:.3f} of the ten nearest."
            for rows, cost in self.by_rows.items()
            if cost.indexed.recall < RECALL
        ]
        return lines

    def figures(self) -> dict[str, float]:
        """All figures, flat."""
        flat = {"seed": float(self.seed), "mean_weights": self.mean_weights}
        for name, of in self.by_size.items():
            for size, cost in of.items():
                flat |= {f"by_size/{name}/{size}/{key}": value for key, value in vars(cost).items()}
        for count, cost in self.by_number.items():
            flat |= {f"by_number/{count}/{key}": value for key, value in vars(cost).items()}
        for rows, found in self.by_rows.items():
            prefix = f"by_rows/{rows}"
            flat |= {
                f"{prefix}/{key}": getattr(found, key)
                for key in ("written", "built", "row_bytes", "index_bytes")
            }
            for kind in ("exact", "indexed"):
                searches = getattr(found, kind)
                flat |= {f"{prefix}/{kind}/{key}": value for key, value in searches.latency.items()}
                flat |= {f"{prefix}/{kind}/recall": searches.recall, f"{prefix}/{kind}/count": searches.count}
        flat |= {f"exponent/{name.replace(' ', '_')}": value for name, value in self.exponents().items()}
        flat |= {f"hub/hours/{mean}": self.hours(mean) for mean in MEANS}
        flat |= dict(zip(("hub/row_bytes", "hub/index_bytes"), self.bytes(), strict=True))
        return {name: float(value) for name, value in flat.items() if np.isfinite(value)}

    def headline(self) -> dict[str, float]:
        """The figures that the lineage shows."""
        rows = max(self.by_rows)
        return {
            "networks a second": 1 / self.seconds_a_network,
            "nanoseconds a weight": 1e9 * self.seconds_a_weight,
            f"recall@10 of {rows:,}": float(self.by_rows[rows].indexed.recall),
            f"ms a search of {rows:,}": 1000 * self.by_rows[rows].indexed.latency["p50"],
        }


def exponent(costs: Mapping[int, float]) -> float:
    """The power of the size that a cost (size → cost) grows like: the slope of a line through the logarithms, by least
    squares over the last two decades of sizes.

    NaN where the cost of the largest is not double that of the smallest: what all sizes share hides the growth.
    """
    largest = max(costs)
    if costs[largest] < 2 * costs[min(costs)]:
        return float("nan")
    sizes = [size for size in costs if 100 * size >= largest]
    return float(np.polyfit(np.log(sizes), np.log([costs[size] for size in sizes]), 1)[0])


def slope(costs: Mapping[int, float]) -> float:
    """What one more costs, by the smallest and the largest of the sizes."""
    first, last = min(costs), max(costs)
    if first == last:
        return costs[last] / last
    return max(costs[last] - costs[first], 0.0) / (last - first) or costs[last] / last


def duration(seconds: float) -> str:
    """A time with its unit."""
    if seconds < 0.1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:,.0f} s"
