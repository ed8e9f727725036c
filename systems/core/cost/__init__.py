"""How long an iteration takes on hardware that is not here, and how much KV memory it has: constants with sources."""
