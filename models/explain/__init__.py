"""Explanations: the reasons for the probability of a label."""
