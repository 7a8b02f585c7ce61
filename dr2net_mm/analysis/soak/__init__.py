"""Growth of memory and other resources over a long training."""
