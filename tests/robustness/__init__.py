"""Kills, corruptions and made-up input, by the thousand: ``python -m tests.robustness`` (long), ``--short`` as in the suite."""
