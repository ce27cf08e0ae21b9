"""The atlas: an interactive map of the index, one page that stands alone."""
