"""Models: providers behind the gateway, what a call may cost, and what it did cost.

`addon.py` is the story of one call. `account.py` decides whether it fits, `pricing.py` what it costs, and one file an
API (`anthropic.py`, `openai.py`, `gemini.py`) reads its requests and its usage.
"""
