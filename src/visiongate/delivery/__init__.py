"""Deliver images to production, and judge the champion there again."""
