"""What the platform could not do. A refusal of a change is never an error: it is a `Verdict`.

LockgateError
├── InputError        what a person gave us is wrong: say what, where, and what to do
├── AgentError        the agent hung, crashed, or gave something that is not a change
├── SandboxError      no sandbox could be opened, or it broke
├── ForgeError        the repository cannot be read or written
├── TargetError       the deploy target cannot do what it was asked
└── LedgerError       the ledger cannot be read, written, or its chain is broken
"""


class LockgateError(Exception):
    """Lockgate could not go on."""


class InputError(LockgateError):
    """What a person gave is wrong."""


class AgentError(LockgateError):
    """The agent hung, crashed, or gave something that is not a change."""


class SandboxError(LockgateError):
    """No sandbox could be opened, or it broke."""


class ForgeError(LockgateError):
    """The repository cannot be read or written."""


class TargetError(LockgateError):
    """The deploy target could not do what it was asked."""


class LedgerError(LockgateError):
    """The ledger could not be read or written, or its chain is broken."""
