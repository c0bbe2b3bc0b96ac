"""A detector as one graph that can be traced."""
