"""Networks and baselines by name, their export to ONNX, and the predictor that runs the exported file."""
