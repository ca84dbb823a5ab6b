"""What the model sees of a person. The same code runs in training and in serving."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = [
    "AGEP", "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM",
    "SEX", "RAC1P",
]  # fmt: skip
WORKING_AGE = (18, 64)


def transform(rows: pa.Table) -> np.ndarray:
    """The raw columns, and whether a person is of working age."""
    raw = [rows[name].to_numpy() for name in COLUMNS]
    low, high = WORKING_AGE
    working = pc.and_(pc.greater_equal(rows["AGEP"], low), pc.less_equal(rows["AGEP"], high))
    return np.column_stack([*raw, working.to_numpy()])
