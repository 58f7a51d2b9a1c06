"""What outlives a process: Table Storage, sealed records and Key Vault."""
