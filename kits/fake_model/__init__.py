"""A model server that plays a script: for tests of agents, of the gateway's metering, and of your own.

It speaks Anthropic Messages, OpenAI Responses and Chat Completions, and Gemini, streamed and whole: docs/fake-model.md.
"""

from kits.fake_model.play import Served
from kits.fake_model.script import Call, Conversation, Script, Turn
from kits.fake_model.server import FakeModel, serve

__all__ = ["Call", "Conversation", "FakeModel", "Script", "Served", "Turn", "serve"]
