"""What goes over the wire: typed messages, and the tagged encoding of values."""
