"""Elicitation: search for what makes a model behave as described, and how likely it is to do so."""
