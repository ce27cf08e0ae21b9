"""Encoders in the manner of BERT: norms stand in the stream."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    architecture,
    embedded,
    heads_of,
    outputs,
    post_normed,
    predicted,
    residual,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.types import WiringMismatch
from peace_pipeline.weights.conventions.bert import ALBERT, BERT, DISTILBERT

_SELF = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
_BERT = Block(_SELF, "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
_DISTILBERT = Block(
    ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)
_ALBERT = Block(
    ("attention.query", "attention.key", "attention.value", "attention.dense"),
    "attention.LayerNorm",
    "ffn",
    "ffn_output",
    "full_layer_layer_norm",
)
_ADDED = ("position_embeddings", "token_type_embeddings")
_OF_TOKENS = "ForTokenClassification"
_OF_TEXTS = ("ForSequenceClassification", "ForMultipleChoice")


@family(BERT)
def bert(net: WiringBuilder) -> None:
    """BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019), which have other heads."""
    at, pooler = _prefix(net, "encoder.layer.0"), "pooler.dense"
    predictions, lm_head = "cls.predictions", "lm_head"
    readers = ("classifier", "qa_outputs", "cls.seq_relationship", "classifier.dense", "lm_head.dense")
    stream = residual(
        net, "stream", any(name in net for name in (*readers, f"{predictions}.transform.dense"))
    )
    embedded(net, f"{at}embeddings.", stream, "word_embeddings", *_ADDED)
    net.normed(stream, f"{at}embeddings.LayerNorm", absorbed=False)
    for block in net.numbered(f"{at}encoder.layer."):
        post_normed(
            net, _BERT.under(block), stream, net.number("num_attention_heads"), activation(net.config)
        )
    pooled = _pooled(net, f"{at}{pooler}", stream)
    _with_heads(net, stream, pooled, "cls.seq_relationship")
    if "classifier.dense" in net:
        net.dense("classifier.dense", net.hidden("classifier.hidden", "tanh"), stream)
        outputs(net, "classifier.hidden", "classifier.out_proj")
    of_bert = (
        f"{predictions}.transform.dense",
        f"{predictions}.transform.LayerNorm",
        f"{predictions}.decoder",
    )
    predicted(net, of_bert, (predictions,), stream, stream)
    of_roberta = (f"{lm_head}.dense", f"{lm_head}.layer_norm", f"{lm_head}.decoder")
    predicted(net, of_roberta, (lm_head,), stream, stream)


@family(DISTILBERT)
def distilbert(net: WiringBuilder) -> None:
    """DistilBERT (Sanh et al. 2019): the classifier has a layer of ReLUs."""
    at = _prefix(net, "transformer.layer.0")
    heads = heads_of(net, "pre_classifier", "classifier", "qa_outputs", "vocab_transform")
    stream = residual(net, "stream", bool(heads))
    embedded(net, f"{at}embeddings.", stream, "word_embeddings", *_ADDED)
    net.normed(stream, f"{at}embeddings.LayerNorm", absorbed=False)
    for block in net.numbered(f"{at}transformer.layer."):
        post_normed(net, _DISTILBERT.under(block), stream, net.number("n_heads"), activation(net.config))
    read = stream
    if "pre_classifier" in net:
        read = net.hidden("pre_classifier.hidden", "relu")
        net.dense("pre_classifier", read, stream)
    outputs(net, read, "classifier")
    outputs(net, stream, "qa_outputs")
    predicted(net, ("vocab_transform", "vocab_layer_norm", "vocab_projector"), (), stream, stream)


@family(ALBERT)
def albert(net: WiringBuilder) -> None:
    """ALBERT (Lan et al. 2020): a small embedding, and blocks that are run several times."""
    at = _prefix(net, "encoder.embedding_hidden_mapping_in")
    heads = heads_of(net, "classifier", "qa_outputs", "predictions.dense", "sop_classifier.classifier")
    embedding = net.group("embedding", "permute")
    stream = residual(net, "stream", bool(heads))
    embedded(net, f"{at}embeddings.", embedding, "word_embeddings", *_ADDED)
    normed = net.normed(embedding, f"{at}embeddings.LayerNorm")
    net.dense(f"{at}encoder.embedding_hidden_mapping_in", stream, normed)
    for group in net.numbered(f"{at}encoder.albert_layer_groups."):
        for block in net.numbered(f"{group}.albert_layers."):
            post_normed(
                net, _ALBERT.under(block), stream, net.number("num_attention_heads"), activation(net.config)
            )
    pooled = _pooled(net, f"{at}pooler", stream)
    _with_heads(net, stream, pooled, "sop_classifier.classifier")
    names = ("predictions.dense", "predictions.LayerNorm", "predictions.decoder")
    predicted(net, names, ("predictions",), stream, embedding)


def _prefix(net: WiringBuilder, name: str) -> str:
    at = net.prefix(name)
    if f"{at}embeddings.word_embeddings" not in net:
        raise WiringMismatch("no embedding of words")
    return at


def _pooled(net: WiringBuilder, pooler: str, stream: str) -> str:
    """What reads the first position; the stream where there is no pooler."""
    if pooler not in net:
        return stream
    net.dense(pooler, net.hidden(f"{pooler}.hidden", "tanh"), stream)
    return f"{pooler}.hidden"


def _with_heads(net: WiringBuilder, stream: str, pooled: str, relation: str) -> None:
    """Classifier, head of two sequences' ``relation`` and head of answers, as far as there are any."""
    if "classifier" in net:
        outputs(net, _classified(net, stream, pooled), "classifier")
    outputs(net, pooled, relation)
    outputs(net, stream, "qa_outputs")


def _classified(net: WiringBuilder, stream: str, pooled: str) -> str:
    """What a classifier beside a pooler reads: that follows from the class alone."""
    name = architecture(net)
    if name and not name.endswith((_OF_TOKENS, *_OF_TEXTS)):
        raise WiringMismatch(f"what the classifier of {name} reads is not known")
    return stream if name.endswith(_OF_TOKENS) else pooled
