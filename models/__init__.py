"""The model: features, two stages, decisions, explanations, the bundle and the registry client."""
