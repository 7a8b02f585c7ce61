"""What the command-line tools share: arguments, tables, errors in one line."""
