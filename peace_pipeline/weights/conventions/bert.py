"""BERT and RoBERTa (Devlin et al. 2019; Liu et al. 2019), DistilBERT (Sanh et al. 2019), ALBERT (Lan et al. 2020)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_BERT, _ALBERT = "encoder.layer.0.attention", "encoder.albert_layer_groups.0.albert_layers.0.attention"
_WORDS = "embeddings.word_embeddings.weight"

_NAMES = (_WORDS, f"{_BERT}.self.query.weight", f"{_BERT}.output.LayerNorm.weight")
_HEADS = {"num_attention_heads": f"{_BERT}.self.query.weight"}
_SIZES = {
    "vocab_size": (_WORDS, 0),
    "hidden_size": (_WORDS, 1),
    "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("embeddings.token_type_embeddings.weight", 0),
    "intermediate_size": ("encoder.layer.0.intermediate.dense.weight", 0),
    "num_hidden_layers": ("encoder.layer.", 0),
}
_OF_ROBERTA = {"model_type": "roberta"}
_PREDICTIONS = "cls.predictions.transform.dense.weight"

BERT = declare(
    Conventions(
        ("bert", "roberta", "xlm-roberta", "camembert"),
        marks=(
            Marks(_NAMES, _HEADS, sizes=_SIZES),
            Marks((*_NAMES, _PREDICTIONS), _HEADS, None, {"architectures": ["BertForMaskedLM"]}, _SIZES),
            Marks(
                (*_NAMES, _PREDICTIONS, "cls.seq_relationship.weight"),
                _HEADS,
                None,
                {"architectures": ["BertForPreTraining"]},
                _SIZES,
            ),
            Marks(
                (*_NAMES, "lm_head.dense.weight"),
                _HEADS,
                None,
                _OF_ROBERTA | {"architectures": ["RobertaForMaskedLM"]},
                _SIZES,
            ),
            Marks(
                _NAMES,
                _HEADS,
                None,
                _OF_ROBERTA,
                _SIZES,
                exactly={
                    "embeddings.token_type_embeddings.weight": (0, 1),
                    "embeddings.position_embeddings.weight": (0, 514),
                },
            ),
        ),
    )
)
DISTILBERT = declare(
    Conventions(
        ("distilbert",),
        marks=(
            Marks(
                (
                    _WORDS,
                    "transformer.layer.0.attention.q_lin.weight",
                    "transformer.layer.0.sa_layer_norm.weight",
                ),
                {"n_heads": "transformer.layer.0.attention.q_lin.weight"},
                sizes={
                    "vocab_size": (_WORDS, 0),
                    "dim": (_WORDS, 1),
                    "max_position_embeddings": ("embeddings.position_embeddings.weight", 0),
                    "hidden_dim": ("transformer.layer.0.ffn.lin1.weight", 0),
                    "n_layers": ("transformer.layer.", 0),
                },
            ),
        ),
    )
)
ALBERT = declare(
    Conventions(
        ("albert",),
        marks=(
            Marks(
                (_WORDS, "encoder.embedding_hidden_mapping_in.weight", f"{_ALBERT}.query.weight"),
                {"num_attention_heads": f"{_ALBERT}.query.weight"},
            ),
        ),
    )
)
