//! Each proto file is named in the docs: scripts are written from it. (That it compiles, the build
//! of the package `proto` shows.)

use crate::tidy::docs;
use crate::tidy::files::Files;
use crate::tidy::finding::Finding;

pub(crate) fn check(files: &Files) -> Vec<Finding> {
    let docs: String = files
        .matching(docs::is_doc)
        .into_iter()
        .map(|path| files.text(path))
        .collect();
    files
        .matching(|path| path.starts_with("proto/") && path.ends_with(".proto"))
        .into_iter()
        .filter(|path| !docs.contains(path))
        .map(|path| {
            Finding::new(
                path,
                1,
                format!("no doc names it; say in docs/ what `{path}` is for"),
            )
        })
        .collect()
}
