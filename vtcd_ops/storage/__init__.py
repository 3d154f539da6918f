"""Folders of results: atomic, verified, shared by processes."""
