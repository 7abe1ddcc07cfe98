"""Servers driven with real recordings: ours, and what a user would run otherwise."""
