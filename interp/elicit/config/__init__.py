"""Config sections of behaviours, prompts and investigators, each of which checks and opens itself."""
