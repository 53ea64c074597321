"""Teach a small model to write and to simulate descriptions: from stored ones to fine-tuned folders."""
