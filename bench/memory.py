async def measure(gateway, given):
    return {}
