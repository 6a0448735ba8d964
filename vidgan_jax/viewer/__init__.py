"""A local page that shows what trained runs and exported models generate."""
