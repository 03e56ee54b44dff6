"""Rollout of models: following aliases, loading, swapping, shadow comparison."""
