"""The only training loop, and what feeds it. Device half."""
