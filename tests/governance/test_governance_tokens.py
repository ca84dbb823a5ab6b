"""Tokens: made once, known by their digest alone, ended by a transition."""

from __future__ import annotations

import hashlib

import pytest

from windlass.domain import ledger
from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Database
from windlass.governance import tokens


def make(db: Database, name: str = "ada", byte: int = 7) -> str:
    return tokens.create(db, name=name, actor="root", now=lambda: 5, entropy=lambda count: bytes([byte]) * count)[0]


def test_a_token_has_256_random_bits_and_only_its_digest_is_kept(database: Database) -> None:
    token = make(database)
    assert token == "wl_" + "BwcH" * 10 + "Bwc"
    with database.read() as tx:
        [found] = tokens.ls(tx)
    assert found == tokens.Token(
        name="ada", digest=hashlib.sha256(token.encode()).hexdigest(), created=5, used=None, revoked=None
    )
    assert not list(database.mentions(token))


def test_making_and_revoking_are_transitions(database: Database) -> None:
    token = make(database)
    revoked = tokens.revoke(database, name="ada", actor="root", reason="left", now=lambda: 6)
    assert revoked.revoked == 6
    made_anew = make(database, byte=8)
    with database.read() as tx:
        entries = ledger.entries(tx, subject="token/ada")
        assert [(e.action, e.actor, e.reason, e.after) for e in entries] == [
            ("create", "root", "token created", f"sha256:{tokens.digest_of(token)}"),
            ("revoke", "root", "left", None),
            ("create", "root", "token created", f"sha256:{tokens.digest_of(made_anew)}"),
        ]
        assert [each.revoked for each in tokens.ls(tx)] == [None, 6]


def test_a_person_has_one_live_token(database: Database) -> None:
    make(database)
    with pytest.raises(Conflict, match="ada has a token already"):
        make(database, byte=8)
    with pytest.raises(NotFound, match="no token that could be revoked"):
        tokens.revoke(database, name="bob", actor="root", reason="", now=lambda: 6)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "a" * 65, "é", "a\n", "windlass"])
def test_a_name_is_one_that_a_person_may_have(database: Database, name: str) -> None:
    with pytest.raises(Invalid, match="not a person's name"):
        make(database, name)


def test_once_there_was_a_token_one_is_required_for_good(database: Database) -> None:
    def required() -> tuple[bool, bool]:
        with database.read() as tx:
            needed = tokens.standing(tx).required
        return needed, tokens.anybody(database)

    assert required() == (False, False)
    make(database)
    assert required() == (True, True)
    tokens.revoke(database, name="ada", actor="root", reason="", now=lambda: 6)
    assert required() == (True, False)


def test_use_is_noted_once_a_minute(database: Database) -> None:
    digest = tokens.digest_of(make(database))
    seen = []
    for at in (10, 11, 10 + 59_999_999, 10 + 60_000_000):
        tokens.used(database, digest, at)
        with database.read() as tx:
            seen.append(tokens.ls(tx)[0].used)
    assert seen == [10, 10, 10, 10 + 60_000_000]
