"""``peace …``: thin; every command calls one function."""
