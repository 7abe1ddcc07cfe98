"""Figures anyone can measure again: ``python -m bench shows NAME``."""
