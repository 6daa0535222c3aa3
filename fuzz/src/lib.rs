//! Fuzz targets for every decoder. What each does is in `targets`, which the project's ordinary tests run too.

pub mod targets;

/// Runs one target by its name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    (target.expect("there is a target of that name").run)(bytes);
}
