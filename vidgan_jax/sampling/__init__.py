"""Drawing clips from a trained generator."""
