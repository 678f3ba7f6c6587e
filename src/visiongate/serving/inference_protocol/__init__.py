"""The Open Inference Protocol, version 2, over HTTP: the same predictions for the clients of KServe and Triton.

https://github.com/kserve/open-inference-protocol; binary tensors as in Triton's extension "Binary Tensor Data".
"""
