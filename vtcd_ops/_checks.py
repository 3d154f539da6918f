"""Argument checks of the operators, in the same words as the C++ kernels.

Every message reads ``operator: argument expected ..., got ...``.
"""
