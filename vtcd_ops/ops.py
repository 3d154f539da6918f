"""Public functions of the operators: argument checks, one call each."""
