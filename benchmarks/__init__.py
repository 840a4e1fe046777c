"""Ratios against peers, side by side in one run; never a timed test."""
