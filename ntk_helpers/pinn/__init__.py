"""Physics-informed networks: the problem, its kernel, training, and the forecast."""
