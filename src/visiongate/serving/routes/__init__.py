"""The routes of the service, besides those of the Open Inference Protocol."""
