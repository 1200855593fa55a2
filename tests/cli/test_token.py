from __future__ import annotations

from animax.cli import main
from animax.service.access.authenticator import Authenticator
from animax.service.access.settings import AuthSettings


def test_what_is_printed_lets_its_caller_in(tmp_path, capsys):
    assert main(["token", "create", "studio", "--admin", "--concurrent", "4", "--motion-seconds", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()
    token, line = lines[1], lines[3]
    assert token not in line
    (tmp_path / "tokens").write_text(line + "\n")
    known = Authenticator(AuthSettings(token_file=tmp_path / "tokens"))
    identity = known.identify([("authorization", f"Bearer {token}")])
    assert (identity.name, identity.admin, identity.quotas.concurrent) == ("token:studio", True, 4)


def test_a_name_that_is_none(capsys):
    assert main(["token", "create", "a b"]) == 2
    assert "accepted:" in capsys.readouterr().err
