"""FastAPI by hand, as one writes it in ten lines: `uvicorn by_hand:app`. The model's path is in MODEL."""

import os
import pickle
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

with Path(os.environ["MODEL"]).open("rb") as file:
    model = pickle.load(file)
app = FastAPI()


class Rows(BaseModel):
    rows: list[list[float]]


@app.post("/predict")
async def predict(given: Rows) -> dict[str, list[float]]:
    # Not a plain `def`: that would hand each request to a pool of threads, which costs more than the model.
    return {"probabilities": model.predict_proba(given.rows)[:, 1].tolist()}
