"""The ways to run a network, one module each."""
