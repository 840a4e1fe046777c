"""What was tried, and how the kinds of model compare; no stage needs it."""
