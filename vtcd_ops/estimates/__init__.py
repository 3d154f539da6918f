"""Importance and its errors, pure functions of stored scores."""
