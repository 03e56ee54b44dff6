"""Feedback as training data: the votes of reviewers, merged into the labelled rows."""
