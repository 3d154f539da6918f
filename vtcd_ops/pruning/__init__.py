"""Smaller models: heads that matter little are taken out."""
