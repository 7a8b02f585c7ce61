"""Whether anything grows while a network trains for long."""
