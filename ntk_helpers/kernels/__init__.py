"""Tangent kernels: of a network as it is, and of its infinitely wide limit."""
