"""Error of recomputed gradients on a grid of (alpha, beta)."""
