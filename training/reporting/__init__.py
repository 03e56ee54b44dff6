"""Reports of training runs: model card, tables and plots."""
