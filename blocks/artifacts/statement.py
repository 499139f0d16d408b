"""What the platform states about an artifact, signed: an in-toto statement with SLSA provenance in a DSSE envelope.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md · https://slsa.dev/spec/v1.0/provenance ·
https://github.com/secure-systems-lab/dsse/blob/master/envelope.md. Nothing in it is a clock's: same facts, same bytes.
"""

import json
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from blocks.artifacts.signing_key import SigningKey
from domain.artifact import ArtifactKind, Provenance
from domain.value import canonical

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:lockgate:release:v1"
"""What the fields mean: docs/artifacts.md."""
BUILDER = "urn:lockgate:builder"


def sign(about: Provenance, kind: ArtifactKind, artifact: str, sbom: str, key: SigningKey) -> bytes:
    """The envelope as JSON. `artifact` and `sbom`: their SHA-256. Same input, same bytes."""
    payload = canonical(_statement(about, kind, artifact, sbom)).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    private = key.key()
    envelope.sign(CryptoSigner(private, SSlibKey.from_crypto(private.public_key())))
    return canonical(envelope.to_dict()).encode()


def verify(
    envelope: bytes, public_key: str, artifact: str, about: Provenance | None = None, sbom: str | None = None
) -> str | None:
    """None if the key's owner has signed that `artifact` comes from there, else the first reason why not.

    `about`, `sbom`: what is known otherwise, as from the ledger; every field is compared.
    """
    try:
        key = SSlibKey.from_crypto(load_pem_public_key(public_key.encode()))
    except (ValueError, UnsupportedAlgorithm):
        return "the public key cannot be read: it must be in PEM"
    try:
        signed = Envelope.from_dict(json.loads(envelope))
        signed.verify([key], threshold=1)
    except VerificationError:
        return "the statement is not signed by this key, or was changed afterwards"
    except (Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "the statement is no DSSE envelope"
    if signed.payload_type != PAYLOAD_TYPE:
        return f"the envelope holds {signed.payload_type[:80]!r}, not a statement"
    try:
        said, subjects, contents = _read(json.loads(signed.payload))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, StopIteration):
        return "the statement is signed, but it is none about a release of Lockgate"
    if subjects != [artifact]:
        return f"the statement is about {', '.join(subjects)[:200]}, not about {artifact}"
    if sbom is not None and contents != [sbom]:
        return f"the statement names the SBOM {', '.join(contents)[:200]}, not {sbom}"
    return _difference(said, about) if about else None


def _difference(said: Provenance, known: Provenance) -> str | None:
    for name in Provenance.model_fields:
        stated, expected = getattr(said, name), getattr(known, name)
        if stated != expected:
            return f"the statement says {name} {stated!r}, known is {expected!r}"
    return None


def _statement(about: Provenance, kind: ArtifactKind, artifact: str, sbom: str) -> dict[str, Any]:
    names = {
        "commit": ("gitCommit", about.revision),
        "files": ("sha256", about.files),
        "base": ("gitCommit", about.base),
        "brief": ("sha256", about.brief),
        "evidence": ("sha256", about.evidence),
        "approval": ("sha256", about.approval),
    }
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": f"{kind}-{about.revision}", "digest": {"sha256": artifact}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "repository": about.repository,
                    "environment": about.environment,
                    "committed_s": about.committed_s,
                    "reviewer": about.reviewer,
                },
                "resolvedDependencies": [
                    {"name": name, "digest": {kind_of: value}} for name, (kind_of, value) in names.items() if value
                ],
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": {"lockgate": about.builder}},
                "metadata": {"invocationId": about.run_id},
                "byproducts": [{"name": "sbom.cdx.json", "digest": {"sha256": sbom}}],
            },
        },
    }


def _read(statement: Any) -> tuple[Provenance, list[str], list[str]]:
    """What a statement says, about which digests, and which SBOMs it names.

    Raises ValueError, KeyError, TypeError, AttributeError or IndexError for another's.
    """
    predicate = statement["predicate"]
    build, details = predicate["buildDefinition"], predicate["runDetails"]
    types = (statement["_type"], statement["predicateType"], build["buildType"], details["builder"]["id"])
    if types != (STATEMENT_TYPE, PREDICATE_TYPE, BUILD_TYPE, BUILDER):
        raise ValueError("another's statement")
    named = {each["name"]: next(iter(each["digest"].values())) for each in build["resolvedDependencies"]}
    try:
        said = Provenance(
            run_id=details["metadata"]["invocationId"],
            builder=details["builder"]["version"]["lockgate"],
            revision=named.pop("commit"),
            **named,
            **build["externalParameters"],
        )
    except ValidationError as err:
        raise ValueError("fields that Lockgate does not write") from err
    return said, _digests(statement["subject"]), _digests(details["byproducts"])


def _digests(descriptors: Any) -> list[str]:
    return [str(descriptor["digest"]["sha256"]) for descriptor in descriptors]
