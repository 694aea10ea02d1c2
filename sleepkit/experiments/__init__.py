"""Experiments: presets, one per figure of the paper."""
