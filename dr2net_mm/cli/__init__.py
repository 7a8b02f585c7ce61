"""Shared parts of the command-line tools: arguments, tables, one-line errors."""
