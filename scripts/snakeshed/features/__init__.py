"""What characterizes a catchment: relief, and statistics of layers."""
