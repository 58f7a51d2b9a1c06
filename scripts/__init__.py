"""What is run beside the gateway: to examine an environment, and to check what was deployed."""
