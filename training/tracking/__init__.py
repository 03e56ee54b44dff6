"""Tracking of training in MLflow: runs, registered versions and the promotion gate."""
