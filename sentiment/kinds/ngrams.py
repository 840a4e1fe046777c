"""Linear models of n-grams; see ``sentiment.linear``, which `wide_deep` uses too."""

from sentiment.linear import FILE, PARALLEL, Settings, make_trainer, open_model

__all__ = ["FILE", "PARALLEL", "Settings", "make_trainer", "open_model"]
