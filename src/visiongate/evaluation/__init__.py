"""Predictions, metrics, intervals and the gate, from the ONNX file alone."""
