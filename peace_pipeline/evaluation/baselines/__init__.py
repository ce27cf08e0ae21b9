"""What PEACE is compared with. Every module here registers its baselines; adding one is adding a file."""
