"""The prediction log: append-only segments of records, a folder for each writer of an endpoint.

``LOG/<endpoint>/<writer>/000001.log``; the format is in docs/internals/prediction-log.md. A writer keeps the disk out
of the request's path. Readers see complete records only, of all writers, in one order, and may read while it is
written.
"""

from windlass.serving.log.position import START, Mark, Position, earliest
from windlass.serving.log.reader import end, read
from windlass.serving.log.segments import Segment, segments, writers
from windlass.serving.log.writer import FIRST_WRITER, Writer

__all__ = [
    "FIRST_WRITER",
    "START",
    "Mark",
    "Position",
    "Segment",
    "Writer",
    "earliest",
    "end",
    "read",
    "segments",
    "writers",
]
