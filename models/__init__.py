"""The model: features, stages, decisions, explanations, the bundle and the registry client."""
