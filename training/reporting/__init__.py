"""The report of a training run: model card, tables and plots."""
