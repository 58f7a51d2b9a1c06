"""How much each may ask: limits that hold over all instances, and what becomes of them while storage is away."""
