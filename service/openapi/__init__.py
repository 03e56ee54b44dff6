"""The OpenAPI document, built for the loaded model."""
