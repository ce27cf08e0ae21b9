"""Networks, run: what they answer to standard probes."""
