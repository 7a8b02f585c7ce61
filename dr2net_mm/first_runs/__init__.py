"""The examples of tools/*first_run.sh: their data and their summaries."""
