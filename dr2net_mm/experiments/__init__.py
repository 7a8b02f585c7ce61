"""Finetuning experiments: rows of the paper's tables, a queue of runs, a report."""
