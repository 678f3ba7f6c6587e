"""Paired tests: is one classifier better than another on the same images?"""
