"""Small Llamas that are trained here: the architecture, the training loop, and the Hugging Face folder."""
