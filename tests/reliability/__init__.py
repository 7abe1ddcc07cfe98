"""What the service withstands; each file attacks what the file of its name protects."""
