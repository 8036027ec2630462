"""Recipes: each a short function that makes a model out of the floors below, in a module of its own."""

__all__: list[str] = []
