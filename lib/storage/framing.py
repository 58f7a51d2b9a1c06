"""Texts as one sequence of bytes that no other texts make: each with its length in front."""


def framed(*texts: str) -> bytes:
    """`texts` in UTF-8, each behind its length in four bytes."""
    parts = [text.encode() for text in texts]
    return b"".join([len(part).to_bytes(4) + part for part in parts])
