"""VCEMO's tables, run on any corpus and printed beside what the paper printed."""
