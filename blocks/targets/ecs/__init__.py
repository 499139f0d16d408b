"""Releases on Amazon ECS: `target.py` is the target and `settings.py` its settings; `definitions.py` makes task
definitions of releases, `service.py` reads the one service, `drive.py` moves its deployments on or back, `tasks.py`
asks what runs, `rollout.py` has the words of ECS for a rollout, and `api.py` is boto3."""
