"""Tidy frames → the report's tables, as Markdown (it suits HTML, PDF and notebooks alike)."""
