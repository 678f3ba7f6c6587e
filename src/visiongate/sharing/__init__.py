"""Sharing what the line made: a remote for a team, filled and verified, and what is pushed to it and pulled from it."""
