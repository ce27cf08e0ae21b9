"""BERT and RoBERTa (Devlin et al. 2019; Liu et al. 2019), DistilBERT (Sanh et al. 2019), ALBERT (Lan et al. 2020)."""

from peace_pipeline.weights.conventions.facts import Conventions, Marks, declare

_BERT, _ALBERT = "encoder.layer.0.attention", "encoder.albert_layer_groups.0.albert_layers.0.attention"
_WORDS = "embeddings.word_embeddings.weight"

BERT = declare(
    Conventions(
        ("bert", "roberta", "xlm-roberta", "camembert"),
        marks=(
            Marks(
                (_WORDS, f"{_BERT}.self.query.weight", f"{_BERT}.output.LayerNorm.weight"),
                {"num_attention_heads": f"{_BERT}.self.query.weight"},
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
