"""Channels of our own beside Prefect's notification blocks: e-mail, and PagerDuty with incidents that end."""
