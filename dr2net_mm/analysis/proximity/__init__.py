"""How near a dual-residual network is to the pretrained one, over (alpha, beta)."""
