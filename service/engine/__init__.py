"""The engine: a queue of labelling jobs and the threads that compute them."""
