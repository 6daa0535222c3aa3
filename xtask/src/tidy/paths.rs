//! Tells which words in a doc name a path of this repository.

/// The folders of the repository, there yet or not: a path below one of them is a path of ours.
const FOLDERS: [&str; 11] = [
    ".cargo", ".ci", "benches", "crates", "deploy", "docs", "fuzz", "proto", "tests", "tools",
    "xtask",
];

/// The path that a word names, if it names one: below a folder of ours, or a bare `NAME.md`.
/// Of a pattern it is the folder before the first `*`.
pub(crate) fn named_by(word: &str) -> Option<&str> {
    let word = word.trim_start_matches(['"', '\'', '(', '[', '`']);
    let word = word.trim_end_matches(['"', '\'', ')', ']', '`', ',', ';', '.', ':', '!', '?']);
    let word = word.strip_prefix("./").unwrap_or(word);
    // `path:12`, `path::item`, `path#part`.
    let word = word.split([':', '#']).next().unwrap_or(word);
    let word = match word.find('*') {
        Some(at) => &word[..=word[..at].rfind('/')?],
        None => word,
    };
    let is_plain =
        |character: char| character.is_alphanumeric() || matches!(character, '.' | '_' | '-' | '/');
    if !word.chars().all(is_plain) || word.contains("..") {
        return None;
    }
    let is_ours = match word.split_once('/') {
        Some((folder, _)) => FOLDERS.contains(&folder),
        None => word.len() > ".md".len() && word.ends_with(".md"),
    };
    is_ours.then_some(word)
}

#[cfg(test)]
mod tests {
    use super::named_by;

    fn check(word: &str, path: Option<&str>) {
        assert_eq!(named_by(word), path, "{word}");
    }

    #[test]
    fn paths_of_the_repository_are_known() {
        check("docs/FORMAT.md", Some("docs/FORMAT.md"));
        check("./.ci/run,", Some(".ci/run"));
        check(
            "crates/vault/src/log.rs:12",
            Some("crates/vault/src/log.rs"),
        );
        check(
            "crates/vault/src/log.rs::LogWriter",
            Some("crates/vault/src/log.rs"),
        );
        check("docs/FORMAT.md#packs", Some("docs/FORMAT.md"));
        check("(tests/vaults/v1).", Some("tests/vaults/v1"));
        check("proto/holdfast/v1/*.proto", Some("proto/holdfast/v1/"));
        check("README.md", Some("README.md"));
    }

    #[test]
    fn other_words_are_not_taken_for_paths() {
        for word in [
            "packs/12",
            "/tests/x",
            "tests",
            "docs/<name>.md",
            "crates/{a,b}",
            "s3://tests/x",
            "--docs/x",
            "docs/../x",
            "*.md",
            ".md",
        ] {
            check(word, None);
        }
    }
}
