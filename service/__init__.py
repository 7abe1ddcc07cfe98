"""The web around the recogniser: HTTP in, JSON out, bounded everywhere."""
