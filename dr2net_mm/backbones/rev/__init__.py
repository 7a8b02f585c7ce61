"""Rev-ViT and Rev-MViT: the published networks at (α, β) = (0, 1)."""
