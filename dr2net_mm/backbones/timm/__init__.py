"""Any supported timm model as a dual-residual backbone."""
