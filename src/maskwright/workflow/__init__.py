"""The composition root: stages meet only here. One module a stage."""
