"""What is measured, and how. Device half."""
