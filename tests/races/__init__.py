"""Races of a range operation with a device: at which cycle each begins decides which outcome the kernel's rules give."""
