"""Recombine passing rephrasings into new conversations, and make one example of every annotated user step."""
