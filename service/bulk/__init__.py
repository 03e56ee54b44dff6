"""Bulk labelling of files, on threads or on a Ray cluster."""
