"""HTTP without a host: requests, replies, cookies, CORS, CSRF and the boundary every request passes."""
