"""The page that compares ours with everything a user could pick instead."""
