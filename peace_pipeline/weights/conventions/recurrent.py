"""LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014), with the gates of PyTorch."""

from peace_pipeline.weights.conventions.facts import Conventions, declare

LSTM = declare(Conventions(("lstm",), gates="ifgo"))
GRU = declare(Conventions(("gru",), gates="rzn"))
