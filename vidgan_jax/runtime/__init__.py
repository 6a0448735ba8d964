"""The ground floor: faults told to the user, and the video files every other room reads and writes."""
