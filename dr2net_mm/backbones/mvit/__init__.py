"""MViTv2 of mmaction as a dual-residual backbone."""
