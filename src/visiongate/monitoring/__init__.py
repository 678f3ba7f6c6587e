"""What the service answered: the prediction log, feedback, and the performance that follows from both."""
