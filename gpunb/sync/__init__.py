"""move: the plan of what goes, and the engines that follow it."""
