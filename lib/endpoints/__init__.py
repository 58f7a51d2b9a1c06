"""One file per family of routes; each handler takes the gateway and a request, and returns a reply."""
