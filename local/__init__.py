"""The local stack: everything the gateway needs, on one machine, without a cloud, Docker or Core Tools."""
