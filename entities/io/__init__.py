"""Files of entities and labels: readers, writers, and where the files lie."""
