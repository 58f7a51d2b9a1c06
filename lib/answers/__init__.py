"""What happens to answers and rows after the request that made them."""
