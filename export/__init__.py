"""A trained model as one folder for people without this project: `python -m export`."""
