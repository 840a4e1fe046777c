"""Faults injected into a real `dvc repro`, and what the next one makes of them: `python -m faults`."""
