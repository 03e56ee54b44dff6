"""Importers: scripts that turn a published data set into a table of entities and labels."""
