"""Networks by registered name, and their export to ONNX."""
