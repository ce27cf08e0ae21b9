"""What an encoder is made of: its sizes, and the variants that leave a part out."""

from __future__ import annotations

from dataclasses import dataclass

from peace_pipeline.responses.standard import SKETCH

WEIGHTED, SETS, ATTENTION = "weighted", "sets", "attention"


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder, and the parts that a variant leaves out.

    A network's vector has ``learned`` coordinates and those of the sketch of its answers, which counts for
    ``sketch_share`` of the squared norm.

    ``canonical``: networks are brought to scale-canonical form. ``shared_nodes``: layers share the neurons of
    a group. ``transformer``: a Transformer over the layers, else their mean. ``probes``: how many learned inputs
    are pushed through each network (0: none). ``messages``: how neurons hear of others (see
    :mod:`peace_pipeline.encoder.gnn`). ``positions``: all neurons are told their place in the file, so the encoder is
    not equivariant. ``weights`` and ``responses``: the senses that are heard.
    """

    width: int = 64
    heads: int = 8
    rounds: int = 2
    probes: int = 32
    token_width: int = 128
    transformer_layers: int = 2
    attention_heads: int = 4
    learned: int = 128
    sketch_share: float = 0.5
    canonical: bool = True
    shared_nodes: bool = True
    transformer: bool = True
    messages: str = WEIGHTED
    positions: bool = False
    weights: bool = True
    responses: bool = True

    @property
    def dimension(self) -> int:
        """Of a network's vector."""
        return self.learned + SKETCH


VARIANTS = {
    "full": EncoderConfig(),
    "no-canonical": EncoderConfig(canonical=False),
    "no-sharing": EncoderConfig(shared_nodes=False),
    "mean-pooling": EncoderConfig(transformer=False),
    "no-probes": EncoderConfig(probes=0),
    "deep-sets": EncoderConfig(messages=SETS),
    "attention": EncoderConfig(messages=ATTENTION),
    "positions": EncoderConfig(positions=True),
    "weights-alone": EncoderConfig(responses=False),
    "responses-alone": EncoderConfig(weights=False),
}
