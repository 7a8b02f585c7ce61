"""What the command-line tools share: checks of user input, errors, launching."""
