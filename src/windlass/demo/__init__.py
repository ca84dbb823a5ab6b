"""The demo: the whole loop on real data. It only calls what any user can call, and watches."""
