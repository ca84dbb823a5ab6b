"""The prediction log as tables: Parquet by day and release, and SQL over it."""
