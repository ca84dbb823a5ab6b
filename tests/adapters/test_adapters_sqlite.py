import threading
from pathlib import Path

import pytest

from windlass.adapters.sqlite import SqliteDatabase
from windlass.domain.errors import Corrupt


def test_a_file_that_is_no_database_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "w.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(Corrupt):
        SqliteDatabase(tmp_path / "w.db")


def test_those_who_open_a_new_file_at_once_all_get_in(tmp_path: Path) -> None:
    """Turning WAL on needs the file alone for a moment, and does not wait for it by itself."""
    for number in range(25):
        path, inside = tmp_path / f"{number}.db", list[int]()
        gate = threading.Barrier(6)

        def enter(index: int, path: Path = path, gate: threading.Barrier = gate, inside: list[int] = inside) -> None:
            gate.wait()
            db = SqliteDatabase(path)
            with db.write() as tx:
                tx.execute("INSERT INTO heads (subject, target, seq) VALUES (?, 'x', 1)", (str(index),))
            db.close()
            inside.append(index)

        threads = [threading.Thread(target=enter, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(inside) == list(range(6))
