"""Emotional speech and text corpora, one reader a layout."""
