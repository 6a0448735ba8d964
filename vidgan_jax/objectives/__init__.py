"""Losses, penalties and constraints."""
