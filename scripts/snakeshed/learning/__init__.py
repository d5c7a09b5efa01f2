"""What is fitted to observations: refits of published models, and classifiers beside them."""
