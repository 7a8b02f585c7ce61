"""Object detection: the frameworks' detectors; of our own, checks of their data."""
