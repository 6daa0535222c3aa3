//! A string given to a shell runs with `pipefail`, so that `pg_dump | gzip` fails when `pg_dump` does.
//!
//! Two forms count: one word with blanks in it (`--command -- 'pg_dump db | gzip'`), and a shell called with `-c`.
//! POSIX `sh` may lack the option, so `bash` is taken where there is one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const SHELLS: [&str; 2] = ["sh", "bash"];

/// The words to run.
pub(super) fn with_pipefail(words: &[OsString]) -> Vec<OsString> {
    let has = |shell: &str| {
        let places = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&places).any(|folder| folder.join(shell).is_file())
    };
    rewritten(words, if has("bash") { "bash" } else { "sh" })
}

fn rewritten(words: &[OsString], shell: &str) -> Vec<OsString> {
    let piped = |rest: &[OsString]| {
        let before = [shell, "-o", "pipefail", "-c"].map(OsString::from);
        before.into_iter().chain(rest.iter().cloned()).collect()
    };
    match words {
        [one] if one.as_bytes().iter().any(u8::is_ascii_whitespace) => piped(words),
        [program, option, rest @ ..]
            if is_shell(program) && option == OsStr::new("-c") && !rest.is_empty() =>
        {
            piped(rest)
        }
        _ => words.to_vec(),
    }
}

fn is_shell(program: &OsStr) -> bool {
    let name = Path::new(program).file_name();
    name.is_some_and(|name| SHELLS.iter().any(|shell| name == OsStr::new(shell)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], want: &[&str]) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let want: Vec<OsString> = want.iter().map(OsString::from).collect();
        assert_eq!(rewritten(&words, "bash"), want);
    }

    #[test]
    fn strings_for_a_shell_get_pipefail() {
        check(&["a | b"], &["bash", "-o", "pipefail", "-c", "a | b"]);
        check(
            &["/bin/sh", "-c", "a | b", "x"],
            &["bash", "-o", "pipefail", "-c", "a | b", "x"],
        );
        check(&["bash", "-c", "a"], &["bash", "-o", "pipefail", "-c", "a"]);
    }

    #[test]
    fn other_commands_run_as_they_are() {
        check(&["pg_dump", "my db"], &["pg_dump", "my db"]);
        check(&["pg_dump"], &["pg_dump"]);
        check(&["sh", "script.sh"], &["sh", "script.sh"]);
        check(&["sh", "-c"], &["sh", "-c"]);
        check(&["zsh", "-c", "a"], &["zsh", "-c", "a"]);
    }
}
