"""Audio in, emotion out: every part of recognition that training and serving share."""
