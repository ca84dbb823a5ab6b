"""What the gateway speaks: which call a path is, how a body becomes rows, and how an answer becomes a body.

Pure functions over bytes: no socket, no clock. ``calls`` says what is asked; ``mlflow`` and ``oip`` read and write.
"""
