"""How much every concept matters: rankings and attribution curves."""
