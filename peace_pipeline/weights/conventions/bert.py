"""BERT and RoBERTa (Devlin et al. 2019; Liu et al. 2019), DistilBERT (Sanh et al. 2019), ALBERT (Lan et al. 2020)."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

BERT = declare(Conventions(("bert", "roberta", "xlm-roberta", "camembert"), tied_by_default=True))
DISTILBERT = declare(Conventions(("distilbert",), tied_by_default=True))
ALBERT = declare(Conventions(("albert",), tied_by_default=True))
