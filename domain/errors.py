"""What the platform could not do. A refusal of a change is never an error: it is a `Verdict`.

LockgateError
├── InputError        what a person gave us is wrong: say what, where, and what to do
├── AgentError        the agent hung, crashed, or gave something that is not a change
├── SandboxError      no sandbox could be opened, or it broke
├── GatewayError      the egress gateway cannot do what it was asked
│   └── GatewayAway   it does not answer: it is being started, or hangs, and is replaced
├── ForgeError        the repository cannot be read or written
│   ├── NotYet        a hosted forge does not answer, or does not merge at this moment: the run waits for it
│   └── Protected     a branch takes no push: what is to be on it comes by a pull request
├── TargetError       the deploy target cannot do what it was asked
│   ├── Fenced        another run has taken the environment over
│   ├── NotServing    a release that should have the traffic does not run, or is not seen serving
│   ├── Held          nothing is released there until a person opens it again
│   └── Inconclusive  nobody can say whether a release is well
├── DatabaseError     a target's database cannot be copied, read or migrated
├── Unapproved        what is to be merged is not what the ledger says was approved
├── Superseded        another process has begun the run: this one does nothing more for it
├── Withdrawn         somebody has asked to cancel the run before it merged
└── LedgerError       the ledger cannot be read, written, or its chain is broken
"""


class LockgateError(Exception):
    """Lockgate could not go on."""


def reason_of(err: Exception) -> str:
    """What an error says; one that is none of ours does not say what it is, so its class does."""
    return str(err) if isinstance(err, LockgateError) else f"{type(err).__name__}: {err}"


class InputError(LockgateError):
    """What a person gave is wrong."""


class AgentError(LockgateError):
    """The agent hung, crashed, or gave something that is not a change."""


class SandboxError(LockgateError):
    """No sandbox could be opened, or it broke."""


class GatewayError(LockgateError):
    """The egress gateway cannot do what it was asked, so nothing may leave a sandbox."""


class GatewayAway(GatewayError):
    """The egress gateway does not answer. Its keeper starts it again."""


class ForgeError(LockgateError):
    """The repository cannot be read or written."""


class NotYet(ForgeError):
    """A hosted forge does not answer, or does not merge at this moment. The run waits for it without a process."""


class Protected(ForgeError):
    """The branch takes no push: what is to be on it comes by a pull request."""


class TargetError(LockgateError):
    """The deploy target could not do what it was asked."""


class Fenced(TargetError):
    """Another run has taken the environment over; this one does nothing more there."""


class NotServing(TargetError):
    """A release that should have the traffic does not run, or is not seen serving."""


class Held(TargetError):
    """Nothing is released to the environment until a person opens it again."""


class Inconclusive(TargetError):
    """Nobody can say whether a release is well: too little was seen of it."""


class DatabaseError(LockgateError):
    """A target's database could not be copied, read or migrated."""


class Unapproved(LockgateError):
    """What is to be merged is not what the ledger says was approved; nothing was merged."""


class Superseded(LockgateError):
    """Another process has begun the run since this one did; this one does nothing more for it, and says nothing."""


class Withdrawn(LockgateError):
    """Somebody has asked to cancel the run before it merged; nothing was merged."""


class LedgerError(LockgateError):
    """The ledger could not be read or written, or its chain is broken."""
