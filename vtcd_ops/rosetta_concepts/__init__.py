"""Concepts that models share, on grids common to them."""
