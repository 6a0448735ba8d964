"""From clips to features: preprocessing, networks, kept features."""
