"""What is labelled: the entity schema, canonical Arrow tables, readers and writers, sample data."""
