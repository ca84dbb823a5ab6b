"""Where data comes from besides files: queries, feature views, object stores, other snapshots.

Each source is materialised as files in a folder, which is then versioned like any other; what it was made from is a
plain mapping, the snapshot's provenance.
"""
