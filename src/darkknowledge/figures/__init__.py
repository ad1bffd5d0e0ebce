"""Tidy frames → matplotlib figures, a module a question."""
