"""Entities: their schemas, canonical Arrow tables, files, importers and corrections."""
