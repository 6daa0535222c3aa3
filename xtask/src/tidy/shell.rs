//! Takes command lines apart, as docs write them: prompts, settings before the program, quotes,
//! pipes, placeholders.

/// The commands of a line, each as its words; settings (`A=b`), prompts and `sudo` before a program
/// are left out.
pub(crate) fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    for word in words(line) {
        if is_separator(&word) {
            commands.push(Vec::new());
        } else if let Some(command) = commands.last_mut() {
            let ends = word.ends_with(';');
            command.push(word.trim_end_matches(';').to_owned());
            if ends {
                commands.push(Vec::new());
            }
        }
    }
    commands
        .into_iter()
        .map(from_program)
        .filter(|words| !words.is_empty())
        .collect()
}

fn is_separator(word: &str) -> bool {
    [
        "|", "||", "&&", "&", ";", "(", ")", "{", "}", "then", "do", "else", "if", "while", "!",
    ]
    .contains(&word)
}

/// Drops what may stand before a program.
fn from_program(words: Vec<String>) -> Vec<String> {
    let is_before = |word: &String| {
        let is_setting = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        is_setting || ["$", "#", "sudo", "time", "exec", "env", "nohup"].contains(&word.as_str())
    };
    words.into_iter().skip_while(is_before).collect()
}

/// Splits at blanks outside of quotes and drops a comment at the end.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut is_first = true;
    for character in line.chars() {
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => word.push(character),
            None if character == '"' || character == '\'' => quote = Some(character),
            None if character.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                    is_first = false;
                }
            }
            // A `#` that begins a line is a prompt or a comment: which, the program tells.
            None if character == '#' && word.is_empty() && !is_first => return words,
            None => word.push(character),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The name of a `--flag` in a word, which may be written `[--flag]`, `--flag=VALUE`, `--flag[=N]`.
pub(crate) fn flag(word: &str) -> Option<&str> {
    let rest = word
        .trim_start_matches(['[', '(', '{', '|'])
        .strip_prefix("--")?;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(rest.len());
    (end > 0).then_some(&rest[..end])
}

/// Whether a word stands for others: `…`, `NAME`, `<name>`, `[ARGS]`.
pub(crate) fn is_placeholder(word: &str) -> bool {
    let word = word.trim_matches(['[', ']', '(', ')', ',']);
    let is_upper = word
        .chars()
        .all(|c| c.is_ascii_uppercase() || matches!(c, '_' | '-' | '…' | '.'));
    is_upper || word.starts_with('<') || word.starts_with('…') || word.starts_with('$')
}

#[cfg(test)]
mod tests {
    use super::{commands, flag, is_placeholder};

    fn check(line: &str, told: &[&[&str]]) {
        assert_eq!(commands(line), told, "{line}");
    }

    #[test]
    fn prompts_and_settings_are_left_out() {
        check("$ holdfast status  # a comment", &[&["holdfast", "status"]]);
        check("A=1 B= sudo holdfast status", &[&["holdfast", "status"]]);
        check("# holdfast status", &[&["holdfast", "status"]]);
        check("", &[]);
    }

    #[test]
    fn pipes_and_lists_part_commands() {
        check(
            "pg_dump db | holdfast backup --stdin && echo ok; holdfast status",
            &[
                &["pg_dump", "db"],
                &["holdfast", "backup", "--stdin"],
                &["echo", "ok"],
                &["holdfast", "status"],
            ],
        );
        check(
            "holdfast policy set|show",
            &[&["holdfast", "policy", "set|show"]],
        );
    }

    #[test]
    fn quotes_hold_words_together() {
        check("sh -c \"a | b\" 'c d'", &[&["sh", "-c", "a | b", "c d"]]);
    }

    #[test]
    fn flags_are_read_as_docs_write_them() {
        for (word, name) in [
            ("--json", Some("json")),
            ("[--read-data[=N%]]", Some("read-data")),
            ("--wait=committed", Some("wait")),
            ("--", None),
            ("-v", None),
            ("a--b", None),
        ] {
            assert_eq!(flag(word), name, "{word}");
        }
    }

    #[test]
    fn placeholders_are_told_from_words() {
        for word in ["…", "NAME", "<name>", "[PATH]", "ARGV…", "PATH..."] {
            assert!(is_placeholder(word), "{word}");
        }
        assert!(!is_placeholder("create") && !is_placeholder("Name"));
    }
}
