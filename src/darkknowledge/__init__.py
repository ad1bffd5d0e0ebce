"""Dark Knowledge: a reproducible study of knowledge distillation; docs/structure.md maps it."""

__version__ = "0.2.0"
