"""Explanations: reasons why a label has a high or a low probability."""
