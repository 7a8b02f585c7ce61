"""Memory of what is not a backbone: checkpointed modules, and calls in pieces."""
