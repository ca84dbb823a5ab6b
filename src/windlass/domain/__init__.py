"""The words of Windlass as types. Imports nothing of Windlass above itself."""
