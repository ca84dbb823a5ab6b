"""Small packages, and users who ask for them."""

from __future__ import annotations

import json
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression

from windlass.pipelines import package
from windlass.pipelines.model import Model
from windlass.serving.log import read
from windlass.serving.record import Prediction, Shadow

FEATURES = """
import time
import numpy as np

def transform(rows):
    x = rows["x"].to_numpy()
    if {fails}:
        raise ValueError("no reference group")
    time.sleep({slow})
    return np.column_stack([x, rows["y"].to_numpy()])
"""


def build(folder: Path, *, fails: str = "False", slow: float = 0.0, shift: float = 0.0) -> Path:
    """A package of a logistic regression; ``fails`` is an expression over the array x."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=400), rng.integers(0, 5, size=400)
    rows = pa.table({"x": x, "y": y, "t": (x + shift > 0).astype(int)})
    root = folder.with_name(f"{folder.name}-code")
    root.mkdir(parents=True)
    (root / "features_of_test.py").write_text(FEATURES.format(fails="False", slow=0.0))
    sys.path.insert(0, str(root))
    try:
        estimator = LogisticRegression().fit(np.column_stack([x, y]), rows["t"].to_numpy())
        model = Model(estimator=estimator, features="features_of_test:transform", rows=rows, target="t", positive=1)
        package.write(model, folder, root)
    finally:
        sys.path.remove(str(root))
        sys.modules.pop("features_of_test", None)
    (folder / "code" / "features_of_test.py").write_text(FEATURES.format(fails=fails, slow=slow))
    return folder


def one(x: float = 0.5, y: int = 1) -> dict[str, Any]:
    return {"dataframe_records": [{"x": x, "y": y}]}


def logged(folder: Path) -> list[Prediction | Shadow]:
    found, _ = read(folder / "log" / "e")
    return list(found)


class Load:
    """Users on keep-alive connections who never stop asking."""

    def __init__(self, port: int, width: int = 4, timeout: float = 10) -> None:
        self.timeout = timeout
        self.port, self.stopping, self.failed, self.sent = port, False, list[str](), 0
        self.threads = [threading.Thread(target=self.drive, args=(index,)) for index in range(width)]

    def drive(self, index: int) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=self.timeout)
        number = 0
        while not self.stopping:
            number += 1
            body = json.dumps(one(-2 + (number % 40) / 10)).encode()
            connection.request("POST", "/endpoints/e/invocations", body, {"windlass-user": f"{index}-{number}"})
            answer = connection.getresponse()
            text = answer.read()
            self.sent += 1
            if answer.status != 200:
                self.failed.append(text.decode())
        connection.close()

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def more(self, count: int) -> None:
        """Until so many more were sent."""
        goal = self.sent + count
        while self.sent < goal:
            time.sleep(0.005)
