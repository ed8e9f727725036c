"""The OpenAI-compatible HTTP front end of one engine. It never imports torch."""
