"""Experiments: presets, the figures of the paper, and runs with their counts."""
