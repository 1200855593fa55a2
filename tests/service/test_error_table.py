"""docs/contract.md has every reason of the code, with the code that the server sends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from animax import errors
from animax.wire.failure import code_of, reason_of, status_of


def rows(repository: Path) -> dict[str, list[str]]:
    text = (repository / "docs" / "contract.md").read_text("utf-8")
    found = re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", text, re.MULTILINE)
    return {reason: [cell.strip() for cell in rest.split("|")] for reason, rest in found}


def reasons_in_code(repository: Path) -> set[str]:
    found: set[str] = set()
    for path in (repository / "server" / "animax").rglob("*.py"):
        text = path.read_text("utf-8")
        found.update(re.findall(r'reason="([A-Z_]+)"', text))
        if path.name == "failure.py":
            found.update(re.findall(r'StatusCode\.[A-Z_]+, "([A-Z_]+)"', text))
    return found


def test_every_reason_of_the_code_is_in_the_page(repository):
    page = (repository / "docs" / "contract.md").read_text("utf-8")
    found = reasons_in_code(repository)
    assert len(found) > 25
    assert sorted(reason for reason in found if f"`{reason}`" not in page) == []


def test_every_reason_of_the_page_is_in_the_code(repository):
    assert set(rows(repository)) - reasons_in_code(repository) == set()


def test_every_reason_of_calls_is_in_the_contract(repository):
    contract = "".join(path.read_text("utf-8") for path in (repository / "proto").rglob("*.proto"))
    assert [reason for reason in rows(repository) if not re.search(rf"\b{reason}\b", contract)] == []


def plain(name: str, reason: str) -> Exception:
    kind = getattr(errors, name)
    if kind is errors.OptionError:
        return errors.OptionError("x", 1, "2")
    return kind("x", reason=reason) if issubclass(kind, errors.ServiceError) else kind("x")


def test_codes_and_details_are_those_that_are_sent(repository):
    for reason, (code, detail, _, raised) in rows(repository).items():
        name = re.findall(r"`([A-Za-z]+)`", raised)[0]
        if reason in ("MALFORMED_MESSAGE", "INTERNAL"):
            continue
        status = status_of(plain(name, reason))
        assert (reason_of(status), code_of(status).name) == (reason, code)
        types = {part.type_url.rpartition(".")[2] for part in status.details} - {"ErrorInfo", "RetryInfo"}
        assert types == ({detail.split()[0]} if detail else set()), reason


@pytest.mark.parametrize("kind", [errors.QuotaError])
def test_a_quota_is_named(kind):
    from google.rpc import error_details_pb2

    failure = error_details_pb2.QuotaFailure()
    status = status_of(kind("concurrent", "x", 1.0))
    assert any(detail.Unpack(failure) for detail in status.details)
    assert failure.violations[0].subject == "caller:concurrent"
