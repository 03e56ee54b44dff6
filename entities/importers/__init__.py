"""Importers of published data sets, which write tables of entities and labels."""
