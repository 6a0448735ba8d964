"""Where clips come from: arrays, folders of videos, prepared sets, moving shapes."""
