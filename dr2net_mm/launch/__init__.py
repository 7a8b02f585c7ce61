"""From a config to a running Runner: checks, resuming, process groups."""
