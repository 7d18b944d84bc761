"""What the machine measures decides what is used."""
