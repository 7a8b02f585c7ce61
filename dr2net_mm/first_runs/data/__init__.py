"""Real data inside packages, made into data sets."""
