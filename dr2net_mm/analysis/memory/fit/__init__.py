"""Plan of a whole training that fits a device."""
