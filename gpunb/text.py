"""Text from others, made safe to show: the ground that every layer may use."""
