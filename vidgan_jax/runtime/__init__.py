"""The ground floor: faults told to the user, video files, and what else every room stands on."""
