"""What a run will take: rates that are measured, and hours, memory, disk, tokens and money from them."""
