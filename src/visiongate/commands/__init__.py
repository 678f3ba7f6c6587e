"""Commands of ``visiongate``: modules that read the inputs, call the library and print the result."""
