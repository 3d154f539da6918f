"""Samples, readers, frames and clips."""
