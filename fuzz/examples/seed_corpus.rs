//! Writes every target's seeds, as today's code makes them, into the corpus that is kept in the repository:
//! `cargo run --example seed_corpus` in `fuzz/`. What is there already stays: former releases' bytes must still decode.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for target in holdfast_fuzz::targets::TARGETS {
        let folder = seeds.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (n, seed) in (target.seeds)().into_iter().enumerate() {
            let path = folder.join(format!("seed-{n}"));
            if !path.exists() {
                std::fs::write(path, seed)?;
            }
        }
    }
    Ok(())
}
