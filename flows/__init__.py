"""The flows that people start: read `agent_task.py` first, it is the pipeline."""
