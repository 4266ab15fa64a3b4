"""What people would use instead, under the same scenarios and the same checks."""
