"""What outlives a process: Table Storage, queues, sealed records and Key Vault."""
