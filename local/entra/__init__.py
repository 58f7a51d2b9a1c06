"""The Entra emulator: one tenant's sign-in page, token endpoint, keys and discovery document.

Faithful where a client can tell: claims, parameters, error bodies and their AADSTS codes. Without passwords, consent
or conditional access: whoever opens the sign-in page picks a person. What a tenant may refuse beyond that is a
planned fault (`Refused(50079, claims=...).reply()`).
"""

from local.entra.app import build
from local.entra.errors import Refused
from local.entra.tenant import Entra, Registration, registrations

__all__ = ["Entra", "Refused", "Registration", "build", "registrations"]
