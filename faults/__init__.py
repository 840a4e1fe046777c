"""Faults injected into a real `dvc repro`, each followed by a run that must repair the results: `python -m faults`."""
