"""The operators in plain PyTorch and NumPy, short and slow.

These functions are the definition of the operators, the oracle of the tests and the floor of the
benchmarks.
"""
