"""The bundle: a model as a folder of data files."""
