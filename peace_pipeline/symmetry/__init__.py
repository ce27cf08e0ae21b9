"""Which neurons may be permuted, scaled or mixed, and the maps that do it."""
