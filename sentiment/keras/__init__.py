"""Keras: training by its ``fit``, and the ``.keras`` file."""
