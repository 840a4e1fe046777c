"""Look at labelled texts, and write the sections of `params.yaml` that train a model of them: `python -m corpora`."""
