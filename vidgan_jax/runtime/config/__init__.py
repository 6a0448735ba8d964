"""Switches of configs and flags, the fields of every config, and the reader of config files."""
