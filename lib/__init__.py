"""The Fabric Data Agent Gateway: one room per concern; `docs/architecture.md` is the map."""
