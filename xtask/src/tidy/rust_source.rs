//! Tells code from comments and strings in Rust source, as far as looking for words in code takes it.

/// The source with the text of comments, strings and characters blanked out, line breaks kept: what
/// is left is code.
pub(crate) fn code_only(source: &str) -> String {
    let mut scanner = Scanner {
        rest: source,
        code: String::with_capacity(source.len()),
    };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.code
}

/// The number of lines that hold code.
pub(crate) fn code_lines(source: &str) -> usize {
    code_only(source)
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count()
}

struct Scanner<'a> {
    rest: &'a str,
    code: String,
}

impl Scanner<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.blank(length);
        } else if self.rest.starts_with("/*") {
            self.blank(block_comment_length(self.rest));
        } else if let Some(length) = raw_string_length(self.rest).filter(|_| self.at_word_start()) {
            self.blank(length);
        } else if self.rest.starts_with('"') {
            self.blank(quoted_length(self.rest, '"'));
        } else if self.rest.starts_with('\'') {
            match character_length(self.rest) {
                Some(length) => self.blank(length),
                // A lifetime.
                None => self.keep(1),
            }
        } else {
            let length = self.rest.chars().next().map_or(1, char::len_utf8);
            self.keep(length);
        }
    }

    /// Whether the next character does not go on a name (as the `r` of `for"` would).
    fn at_word_start(&self) -> bool {
        !self
            .code
            .ends_with(|before: char| before.is_alphanumeric() || before == '_')
    }

    fn keep(&mut self, length: usize) {
        let (kept, rest) = self.rest.split_at(length);
        self.code.push_str(kept);
        self.rest = rest;
    }

    fn blank(&mut self, length: usize) {
        let (blanked, rest) = self.rest.split_at(length);
        self.code.extend(
            blanked
                .chars()
                .map(|was| if was == '\n' { '\n' } else { ' ' }),
        );
        self.rest = rest;
    }
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`, `br"…"`, `cr"…"`.
fn raw_string_length(text: &str) -> Option<usize> {
    let after_prefix = ["r", "br", "cr"].iter().find_map(|prefix| {
        text.strip_prefix(prefix)
            .filter(|rest| rest.starts_with(['#', '"']))
    })?;
    let hashes = after_prefix.len() - after_prefix.trim_start_matches('#').len();
    // `r#name` is a name.
    let body = after_prefix[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len();
    Some(
        body.find(&closing)
            .map_or(text.len(), |end| start + end + closing.len()),
    )
}

/// A quoted text with escapes, from its opening to its closing quote.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' {
            is_escaped = true;
        } else if character == quote {
            return at + 1;
        }
    }
    text.len()
}

/// A character such as `'x'` or `'\n'`; none for a lifetime such as `'a`.
fn character_length(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        return Some(quoted_length(text, '\''));
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::{code_lines, code_only};

    fn check(source: &str, hidden: &[&str], shown: &[&str]) {
        let code = code_only(source);
        assert_eq!(code.lines().count(), source.lines().count());
        for word in hidden {
            assert!(!code.contains(word), "{word} is not hidden in {code:?}");
        }
        for word in shown {
            assert!(code.contains(word), "{word} is hidden in {code:?}");
        }
    }

    #[test]
    fn comments_are_hidden() {
        check("a // HIDDEN \" '\nb", &["HIDDEN"], &["a", "b"]);
        check(
            "a /* HIDDEN /* HIDDEN */ HIDDEN\n */ b",
            &["HIDDEN"],
            &["a", "b"],
        );
        check("/* never closed HIDDEN", &["HIDDEN"], &[]);
    }

    #[test]
    fn strings_are_hidden() {
        check(r#"a "HIDDEN \" HIDDEN // " b"#, &["HIDDEN"], &["a", "b"]);
        check("a r#\"HIDDEN \" HIDDEN\"# b", &["HIDDEN"], &["a", "b"]);
        check("a br\"HIDDEN \\\" b", &["HIDDEN"], &["a", "b"]);
        check("a \"HIDDEN é\n HIDDEN\" b", &["HIDDEN"], &["a", "b"]);
    }

    #[test]
    fn characters_are_told_from_lifetimes() {
        check("a '\"' b '\\'' c", &["\""], &["a", "b", "c"]);
        check(
            "fn f<'a>(x: &'a str) { \"HIDDEN\" }",
            &["HIDDEN"],
            &["fn f<'a>(x: &'a str) {"],
        );
        check("'é' shown", &["é"], &["shown"]);
    }

    #[test]
    fn raw_names_are_code() {
        check(
            "let r#type = for_r\"HIDDEN\"; shown",
            &["HIDDEN"],
            &["r#type", "for_r", "shown"],
        );
    }

    #[test]
    fn only_lines_with_code_count() {
        assert_eq!(code_lines("//! header\n\nfn f() {\n    // why\n}\n"), 2);
    }
}
