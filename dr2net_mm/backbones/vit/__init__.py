"""MMAction2's video ViT (VideoMAE), dual-residual and frozen."""
