"""Dark Knowledge: a reproducible study of knowledge distillation.

The training leg (``spec data models losses metrics training cost records run study``) turns
parameters into records; the reading leg (``statistics tables figures answers``) turns records
into a report. They meet only in files, through :mod:`darkknowledge.records`."""

__version__ = "0.1.0"
