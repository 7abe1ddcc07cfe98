"""What is deployed, tried where it can be tried: the image's own steps, Prometheus on a running service."""
