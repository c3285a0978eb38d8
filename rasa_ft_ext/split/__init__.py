"""Divide the examples into training and validation data, by test case, and write the tests of each side."""
