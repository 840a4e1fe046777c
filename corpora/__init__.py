"""Inspect labelled texts and write sections of `params.yaml` that train a model on them: `python -m corpora`."""
