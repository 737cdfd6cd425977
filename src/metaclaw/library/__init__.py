"""What was learned in words: skills, their versions, states and history, and the generation counter."""
