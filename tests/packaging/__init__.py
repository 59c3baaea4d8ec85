"""Packages are what their input says, whoever makes them, and answer by themselves."""
