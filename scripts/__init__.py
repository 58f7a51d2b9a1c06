"""What pipelines and operators run; nothing here is deployed."""
