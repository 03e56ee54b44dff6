"""The entities: their schema, canonical Arrow tables, files, importers and corrections."""
