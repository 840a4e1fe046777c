"""An in-toto statement of the verdicts of ``verify``, with SLSA's verification summary, which a workflow can sign.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/verification_summary/v1
"""

import hashlib
import re
from datetime import datetime, timezone

from .scratch import project
from .settings import FILE
from .shell import InputError, git
from .values import DIFFERENT, IDENTICAL, NOT_PROVED, SAME, WITHIN

LEVELS = {
    IDENTICAL: "DVC_REPRODUCED_IDENTICALLY",
    SAME: "DVC_REPRODUCED_SAME_VALUES",
    WITHIN: "DVC_REPRODUCED_WITHIN_TOLERANCE",
    NOT_PROVED: "FAILED",
    DIFFERENT: "FAILED",
}

TOOL = "dvc-verify"


def statement(report: dict) -> dict:
    """Return the statement for a report of ``verify``: the SHA-256 of every file that a rerun made, and the verdicts.

    Raises:
        InputError: The rerun made no file, so there is nothing to state.
    """
    subjects = [
        {"name": "/".join(filter(None, (row["output"], name))), "digest": {"sha256": digest}}
        for row in report["results"]
        for name, digest in row["files"].items()
    ]
    if not subjects:
        raise InputError("--attest: expected outputs that ran again, got none")
    level = LEVELS[report["verdict"]]
    verdicts = {row["output"]: row["verdict"] for row in report["results"]}
    predicate = {
        "verifier": {"id": TOOL},
        "timeVerified": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "resourceUri": f"{_origin()}@{report['revision']}",
        "policy": _policy(),
        "verificationResult": "FAILED" if level == "FAILED" else "PASSED",
        "verifiedLevels": [level],
        "dvc": {key: report[key] for key in ("target", "verdict", "environment")} | {"verdicts": verdicts},
    }
    commit = {"name": "commit", "digest": {"gitCommit": report["revision"]}}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [commit, *subjects],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": predicate,
    }


def _origin() -> str:
    """Return the address of the remote ``origin``, without a user name or password in it."""
    try:
        address = git(project(), "remote", "get-url", "origin")
    except InputError:
        return "git"
    return re.sub(r"://[^/@]*@", "://", address)


def _policy() -> dict:
    file = project() / FILE
    if not file.exists():
        return {"uri": "the defaults"}
    return {"uri": FILE, "digest": {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()}}
