"""Memory of a training step, counted on meta tensors."""
