"""From the user's table to sites."""
