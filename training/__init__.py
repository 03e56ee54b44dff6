"""The training job: split, fit, evaluate, record, register and promote a model."""
