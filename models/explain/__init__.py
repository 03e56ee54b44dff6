"""Explanations: the parts of the input that raised or lowered the score of a label."""
