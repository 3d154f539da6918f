"""Fake (meta) kernels and derivatives of the operators."""
