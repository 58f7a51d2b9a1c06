"""What keeps one request from harming another: deadlines and retries."""
