"""Readers and writers of entity files, their locations, and files shared by processes."""
