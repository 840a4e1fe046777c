"""Keras: its own training, and the ``.keras`` file."""
