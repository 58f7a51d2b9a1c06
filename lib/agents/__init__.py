"""The data agents: where they are, the protocol they speak, and what their answers hold."""
