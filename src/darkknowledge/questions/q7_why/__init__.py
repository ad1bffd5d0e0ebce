"""The discussion: why distillation helps, and when."""
