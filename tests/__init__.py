"""Tests. The name of each test is a claim about the code."""
