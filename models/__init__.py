"""What a model is: features, the two stages, decisions, the bundle, and the registry client."""
