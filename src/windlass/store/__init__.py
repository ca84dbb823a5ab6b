"""Objects by digest: packs, chunks, their index, garbage collection, and exchange between stores."""
