"""What ringbus costs, measured beside what people would use instead. See README.md."""
