"""The CNN-LSTM; see ``sentiment.cnn_lstm``, which `wide_deep` uses too."""

from sentiment.cnn_lstm import COMPILED, Architecture, Settings, build, make_trainer, memory
from sentiment.network import FILE, PARALLEL, open_model

__all__ = [
    "COMPILED", "FILE", "PARALLEL", "Architecture", "Settings", "build", "make_trainer", "memory", "open_model",
]  # fmt: skip
