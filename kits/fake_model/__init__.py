"""A model server that plays a script: for tests of agents, of the gateway's metering, and of your own.

It speaks Anthropic Messages, OpenAI Responses and Chat Completions, and Gemini, streamed and whole: docs/fake-model.md.
"""

from kits.fake_model.play import ServedCall
from kits.fake_model.script import Conversation, Script, ScriptedToolCall, Turn
from kits.fake_model.server import FakeModel, serve

__all__ = ["Conversation", "FakeModel", "Script", "ScriptedToolCall", "ServedCall", "Turn", "serve"]
