"""Corrections as training data: votes of reviewers, merged into the labelled rows."""
