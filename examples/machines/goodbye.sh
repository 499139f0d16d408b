# The "agent" of the example: it takes its time, and then does what the brief asks for.
sleep "${1:-0}"
sed -i 's|^    return None$|    if path == "/goodbye":\n        return {"said": "goodbye"}\n    return None|' service.py
