"""Networks in other formats, each with what is needed to use it."""
