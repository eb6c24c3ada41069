"""What a training script may import: ``get_context()``, the run it belongs to."""
