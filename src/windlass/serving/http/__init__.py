"""HTTP/1.1 as the gateway speaks it: strict in what it takes, bounded in what it keeps, in order in what it answers."""

from windlass.serving.http.connection import Bounds as Bounds
from windlass.serving.http.connection import Connection as Connection
from windlass.serving.http.connection import Front as Front
from windlass.serving.http.message import Handler as Handler
from windlass.serving.http.message import Reply as Reply
from windlass.serving.http.message import Request as Request
from windlass.serving.http.message import Response as Response
from windlass.serving.http.reader import Limits as Limits
