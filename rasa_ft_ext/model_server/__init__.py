"""The seam to what serves a model: a model folder in, a base URL out."""
