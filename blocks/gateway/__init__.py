"""The egress gateway: one process, one listener a sandbox, and every secret on this side of it.

`gateway.py` is the block that steps use; it asks `service.py`, which is the process. `gate.py` is the story of one
request: who asks, may it, with which secret. `exchange.py` is what is known of that request. `models/` meters what
goes to model providers.
"""
