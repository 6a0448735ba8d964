"""Declares the fields of configs and the flags of commands; reads and writes configs."""
