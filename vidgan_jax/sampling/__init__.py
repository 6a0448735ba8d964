"""Sampling clips from a trained generator."""
