"""What all rooms ask of torch: quiet modules that tell when they changed, and full precision."""
