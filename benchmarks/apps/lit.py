"""LitServe: `python lit.py PORT`, one worker. The model's path is in MODEL."""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import litserve


class Served(litserve.LitAPI):
    def setup(self, device: str) -> None:
        with Path(os.environ["MODEL"]).open("rb") as file:
            self.model = pickle.load(file)

    def decode_request(self, request):  # type: ignore[no-untyped-def] # LitServe makes its route of the annotation
        return request["rows"]

    def predict(self, rows: Any) -> Any:
        return self.model.predict_proba(rows)[:, 1].tolist()

    def encode_response(self, output: Any) -> Any:
        return {"probabilities": output}


if __name__ == "__main__":
    server = litserve.LitServer(Served(), accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
