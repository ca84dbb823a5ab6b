"""BentoML: `bentoml serve bento:Served`, one worker. The model's path is in MODEL."""

import os
import pickle
from pathlib import Path

import bentoml
import numpy as np


@bentoml.service(workers=1, traffic={"timeout": 60})
class Served:
    def __init__(self) -> None:
        with Path(os.environ["MODEL"]).open("rb") as file:
            self.model = pickle.load(file)

    @bentoml.api
    async def predict(self, rows: np.ndarray) -> np.ndarray:
        # Not a plain `def`: that would hand each request to a pool of threads, which costs more than the model.
        return self.model.predict_proba(rows)[:, 1]
