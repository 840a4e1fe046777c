"""The whole pipeline on reviews it makes up: `python -m demo`."""
