"""Picture and table of a coefficient schedule."""
