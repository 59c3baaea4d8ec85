"""Train, validation and test periods: global in time, never random, never per user."""
