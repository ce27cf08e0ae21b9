"""Losses and miners by name. Both see only pairs that have a reason; an entry's arguments are names of settings.

A loss is one of pytorch-metric-learning's over explicit pairs, or gives the same. A miner says which of a batch's pairs
count.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Masks = tuple[torch.Tensor, torch.Tensor]
    """Positive and negative pairs (rows, rows) of anchors and others."""
    Pairs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
    """Rows of anchors and of their positives, rows of anchors and of their negatives."""
    Loss = Callable[..., torch.Tensor]
    Miner = Callable[[torch.Tensor, Masks], Masks]


def supcon(temperature: float) -> torch.nn.Module:
    """Supervised NT-Xent: all positives of an anchor at once (Khosla et al. 2020, eq. 2)."""
    from pytorch_metric_learning.losses import SupConLoss

    return SupConLoss(temperature=temperature)


def ntxent(temperature: float) -> Loss:
    """NT-Xent (InfoNCE): each positive of an anchor alone against its negatives (Chen et al. 2020, eq. 1).

    It gives what pytorch-metric-learning's gives. That holds every positive pair beside every negative one; here an
    anchor's negatives are summed once, in memory of the batch's pairs.
    """
    import torch

    def mean(vectors: torch.Tensor, indices_tuple: Pairs) -> torch.Tensor:
        anchor, positive, of_negative, negative = indices_tuple
        if not len(anchor) or not len(negative):
            return vectors.sum() * 0
        logits = vectors @ vectors.mT / temperature
        apart = torch.zeros_like(logits, dtype=torch.bool)
        apart[of_negative, negative] = True
        lowest = torch.finfo(logits.dtype).min
        against = logits.masked_fill(~apart, lowest).logsumexp(1)[anchor]
        alike = logits[anchor, positive]
        return (torch.logaddexp(alike, against) - alike).mean()

    return mean


def triplet(margin: float) -> torch.nn.Module:
    """Positives more alike than negatives by ``margin``, in cosine (Schroff et al. 2015, eq. 1)."""
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import TripletMarginLoss

    return TripletMarginLoss(margin=margin, distance=CosineSimilarity())


def every_pair() -> Miner:
    """All listed pairs."""
    return lambda similarity, masks: masks


def multi_similarity(margin: float) -> Miner:
    """Pairs of an anchor that are hard to within ``margin`` (Wang et al. 2019, eq. 7 and 8).

    Positives that are less alike than the nearest negative, negatives that are more alike than the farthest positive.
    """

    def hard(similarity: torch.Tensor, masks: Masks) -> Masks:
        positive, negative = masks
        nearest = similarity.masked_fill(~negative, -2).amax(1, keepdim=True)
        farthest = similarity.masked_fill(~positive, 2).amin(1, keepdim=True)
        return positive & (similarity < nearest + margin), negative & (similarity > farthest - margin)

    return hard


LOSSES: dict[str, Callable[..., Loss]] = {"supcon": supcon, "ntxent": ntxent, "triplet": triplet}
MINERS: dict[str, Callable[..., Miner]] = {"every-pair": every_pair, "multi-similarity": multi_similarity}


def built(entry: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    """A loss or miner with the settings that it asks for."""
    return entry(**{name: settings[name] for name in inspect.signature(entry).parameters})


def pair_loss(
    loss: Loss, miner: Miner, vectors: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor
) -> torch.Tensor:
    """The loss of a batch's unit ``vectors`` (rows, dimension) over the pairs that the miner leaves."""
    similarity = (vectors @ vectors.mT).detach()
    kept = miner(similarity, (positive, negative))
    indices = (*kept[0].nonzero(as_tuple=True), *kept[1].nonzero(as_tuple=True))
    return loss(vectors, indices_tuple=indices)


def twin_loss(alike: torch.Tensor, margin: float, temperature: float) -> torch.Tensor:
    """Mean softplus of how far the similarities (twins,) of networks and their broken twins exceed ``margin``."""
    from torch.nn.functional import softplus

    return softplus((alike - margin) / temperature).mean()
