"""Whether recent predictions differ from a reference: tests, estimates and the check that uses them.

The tests are functions of arrays, and need NumPy only.
"""
