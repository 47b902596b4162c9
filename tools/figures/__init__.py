"""The common style of all figures, and diagrams as SVG."""
