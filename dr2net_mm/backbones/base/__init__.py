"""Base of every dual-residual backbone."""
