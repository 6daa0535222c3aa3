//! Rules for Rust files: how long they may be without a reason, how they must not be called, and
//! what must not be left in them.

use crate::tidy::files::Files;
use crate::tidy::finding::Finding;
use crate::tidy::rust_source::{code_lines, code_only};

/// Lines of code above which a file has to say why it is so long.
const CODE_LINES_MAX: usize = 500;
const REASON: &str = "//! Long because";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 4] = ["utils", "common", "helpers", "manager"];

/// What must not be left in code, and what to do instead.
const LEFT_OVER: [(&str, &str); 3] = [
    (
        "#[ignore",
        "a test that nobody runs proves nothing; run it or delete it",
    ),
    ("todo!", "write it, or leave out what needs it"),
    ("unimplemented!", "write it, or leave out what needs it"),
];

pub(crate) fn check(files: &Files) -> Vec<Finding> {
    files
        .matching(|path| path.ends_with(".rs"))
        .into_iter()
        .flat_map(|path| check_file(path, &files.text(path)))
        .collect()
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(name) = empty_name(path) {
        let what = format!("nothing is called {name} here; name the file after the noun it holds");
        findings.push(Finding::new(path, 1, what));
    }
    let lines = code_lines(text);
    if lines > CODE_LINES_MAX && !text.lines().any(|line| line.starts_with(REASON)) {
        let what = format!(
            "{lines} lines of code, {CODE_LINES_MAX} is much; split it, or say why in its header: `{REASON} …`"
        );
        findings.push(Finding::new(path, 1, what));
    }
    for (index, line) in code_only(text).lines().enumerate() {
        for (word, instead) in LEFT_OVER {
            if holds(line, word) {
                findings.push(Finding::new(
                    path,
                    index + 1,
                    format!("{word} is left: {instead}"),
                ));
            }
        }
    }
    findings
}

/// The folder or file name in a path that says nothing.
fn empty_name(path: &str) -> Option<&str> {
    path.split('/')
        .map(|name| name.strip_suffix(".rs").unwrap_or(name))
        .find(|name| EMPTY_NAMES.contains(name))
}

/// Whether a line of code holds a word that is not the end of a longer one.
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::check_file;

    fn check(path: &str, text: &str, told: &[&str]) {
        let findings: Vec<String> = check_file(path, text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(findings.len(), told.len(), "{findings:?}");
        for (finding, beginning) in findings.iter().zip(told) {
            assert!(finding.starts_with(beginning), "{finding}");
        }
    }

    #[test]
    fn files_are_named_after_what_they_hold() {
        check(
            "crates/vault/src/utils.rs",
            "",
            &["crates/vault/src/utils.rs:1: "],
        );
        check("tests/common/mod.rs", "", &["tests/common/mod.rs:1: "]);
        check("crates/vault/src/log_manager.rs", "", &[]);
    }

    #[test]
    fn long_files_say_why() {
        let long = "let a = 1;\n".repeat(501);
        check("a.rs", &long, &["a.rs:1: 501 lines"]);
        check(
            "a.rs",
            &format!("//! A.\n//!\n//! Long because of its table.\n{long}"),
            &[],
        );
        check("a.rs", &"// a comment\n".repeat(501), &[]);
    }

    #[test]
    fn nothing_is_left_to_do() {
        check("a.rs", "fn f() {\n    todo!()\n}\n", &["a.rs:2: todo!"]);
        check(
            "a.rs",
            "#[ignore = \"slow\"]\nfn t() {}\n",
            &["a.rs:1: #[ignore"],
        );
        check(
            "a.rs",
            "fn f() { unimplemented!(\"x\") }\n",
            &["a.rs:1: unimplemented!"],
        );
        check(
            "a.rs",
            "// todo!\nlet s = \"#[ignore]\"; my_todo!();\n",
            &[],
        );
    }
}
