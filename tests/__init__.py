"""Claims about the code, each a test."""
