"""What `world_card` measures: each file one kind of effect, through the same modules that users call."""
