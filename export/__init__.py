"""Export of a trained model as one folder that works without this project: `python -m export`."""
