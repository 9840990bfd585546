"""Gradient descent with a record: of one network, and of many at once."""
