"""Offline: corpora in, a bundle out."""
