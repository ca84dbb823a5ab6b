"""What the ports are plugged into. Sees ports, never capabilities."""
