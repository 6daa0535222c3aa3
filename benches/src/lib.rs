//! Benches only; see `benches/README.md`.
