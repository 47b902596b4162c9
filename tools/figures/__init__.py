"""What every figure shares: its style, and diagrams as SVG."""
