"""One module a claim; each has ``measure(workbench) -> Report``."""
