"""Training of models: split, fit, evaluate, log, register and promote."""
