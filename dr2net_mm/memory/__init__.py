"""Memory of what is not a backbone: activation checkpointing of any module."""
