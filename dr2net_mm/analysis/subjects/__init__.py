"""The networks that are analysed."""
