"""Profiles as tables and pictures: what was counted and timed, and where it goes."""
