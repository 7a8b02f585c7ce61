"""What every dual-residual backbone shares."""
