"""Sources of clips: arrays, folders of videos, prepared sets, synthetic moving shapes."""
