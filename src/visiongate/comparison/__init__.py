"""Paired tests: is one model better than another on the same images?"""
