"""What a notebook needs and a kernel does not: set-up, data, figures, explorers, exercises."""
