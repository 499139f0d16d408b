"""One machine's Lockgate: server, worker and supervisor, started and stopped together."""
