"""Queue of labelling jobs and the threads that compute them."""
