//! Takes out of a Markdown document what can be checked: code spans, code blocks, link targets.

/// A piece of a document and the line that it starts on, from 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Piece {
    /// `` `code` `` in running text; line breaks in it are blanks.
    Span { line: usize, text: String },
    /// A line of a code block, in the block's language (empty if it names none).
    Code {
        line: usize,
        language: String,
        text: String,
    },
    /// The target of `[text](target)` or `[label]: target`.
    Link { line: usize, target: String },
}

pub(crate) fn pieces(document: &str) -> Vec<Piece> {
    let mut reader = Reader::default();
    for (index, text) in document.lines().enumerate() {
        reader.read_line(index + 1, text);
    }
    reader.end_paragraph();
    reader.pieces
}

#[derive(Default)]
struct Reader {
    pieces: Vec<Piece>,
    /// The lines of the paragraph being read, each with its number.
    paragraph: Vec<(usize, String)>,
    /// The fence of the code block being read, and its language.
    fence: Option<(String, String)>,
    /// Whether what is indented belongs to a list, and is not code.
    in_list: bool,
    after_blank: bool,
    in_indented_code: bool,
}

impl Reader {
    fn read_line(&mut self, line: usize, text: &str) {
        let trimmed = text.trim();
        if let Some((fence, language)) = self.fence.clone() {
            if trimmed.starts_with(&fence) && trimmed.trim_matches(['`', '~']).is_empty() {
                self.fence = None;
            } else {
                self.pieces.push(Piece::Code {
                    line,
                    language,
                    text: text.to_owned(),
                });
            }
            return;
        }
        if let Some(fence) = opening_fence(trimmed) {
            self.end_paragraph();
            let language = trimmed[fence.len()..]
                .split([' ', ',', '{'])
                .next()
                .unwrap_or_default();
            self.fence = Some((fence, language.to_owned()));
            return;
        }
        if trimmed.is_empty() {
            self.end_paragraph();
            self.after_blank = true;
            return;
        }
        let is_indented = text.starts_with("    ") || text.starts_with('\t');
        let may_be_code = (self.after_blank || self.in_indented_code) && self.paragraph.is_empty();
        if is_indented && !self.in_list && may_be_code {
            self.in_indented_code = true;
            self.pieces.push(Piece::Code {
                line,
                language: String::new(),
                text: text.to_owned(),
            });
        } else {
            self.in_indented_code = false;
            if is_list_item(trimmed) {
                self.in_list = true;
            } else if !text.starts_with(' ') && self.paragraph.is_empty() {
                self.in_list = false;
            }
            self.paragraph.push((line, text.to_owned()));
        }
        self.after_blank = false;
    }

    fn end_paragraph(&mut self) {
        let lines = std::mem::take(&mut self.paragraph);
        let Some(&(first_line, _)) = lines.first() else {
            return;
        };
        let text = lines
            .into_iter()
            .map(|(_, text)| text)
            .collect::<Vec<_>>()
            .join("\n");
        let line_at = |at: usize| first_line + text[..at].matches('\n').count();
        let prose = self.take_spans(&text, line_at);
        for (at, target) in link_targets(&prose) {
            self.pieces.push(Piece::Link {
                line: line_at(at),
                target,
            });
        }
    }

    /// Notes the code spans of a paragraph and returns it with these blanked out.
    fn take_spans(&mut self, text: &str, line_at: impl Fn(usize) -> usize) -> String {
        let mut prose = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(found) = text[at..].find('`') {
            let start = at + found;
            prose.push_str(&text[at..start]);
            let ticks = text[start..].len() - text[start..].trim_start_matches('`').len();
            let body = start + ticks;
            let Some(length) = closing_ticks(&text[body..], ticks) else {
                prose.push_str(&text[start..body]);
                at = body;
                continue;
            };
            let code = text[body..body + length]
                .replace('\n', " ")
                .trim()
                .to_owned();
            self.pieces.push(Piece::Span {
                line: line_at(start),
                text: code,
            });
            at = body + length + ticks;
            prose.extend(text[start..at].chars().flat_map(blank));
        }
        prose.push_str(&text[at..]);
        prose
    }
}

/// As many blanks as the character has bytes, so that places in the text stay what they are.
fn blank(character: char) -> impl Iterator<Item = char> {
    let blank = if character == '\n' { '\n' } else { ' ' };
    std::iter::repeat_n(blank, character.len_utf8())
}

/// The fence that opens a code block: three or more of one kind.
fn opening_fence(trimmed: &str) -> Option<String> {
    ['`', '~'].into_iter().find_map(|mark| {
        let length = trimmed.len() - trimmed.trim_start_matches(mark).len();
        // Three ticks may also enclose a span, all on one line.
        (length >= 3 && !trimmed[length..].contains('`')).then(|| trimmed[..length].to_owned())
    })
}

fn is_list_item(trimmed: &str) -> bool {
    let after_number = trimmed.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let is_numbered = after_number.len() < trimmed.len()
        && (after_number.starts_with(". ") || after_number.starts_with(") "));
    is_numbered
        || ["- ", "* ", "+ "]
            .iter()
            .any(|mark| trimmed.starts_with(mark))
}

/// How far it is to a run of exactly this many ticks.
fn closing_ticks(text: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let run = text[start..].len() - text[start..].trim_start_matches('`').len();
        if run == ticks {
            return Some(start);
        }
        at = start + run;
    }
    None
}

/// Link targets and where each begins.
fn link_targets(prose: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for mark in ["](", "]: "] {
        for (at, _) in prose.match_indices(mark) {
            let rest = prose[at + mark.len()..].trim_start_matches('<');
            let end = rest.find([')', ' ', '\n', '>']).unwrap_or(rest.len());
            targets.push((at, rest[..end].to_owned()));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::{Piece, pieces};

    fn span(line: usize, text: &str) -> Piece {
        Piece::Span {
            line,
            text: text.to_owned(),
        }
    }

    fn code(line: usize, language: &str, text: &str) -> Piece {
        Piece::Code {
            line,
            language: language.to_owned(),
            text: text.to_owned(),
        }
    }

    fn link(line: usize, target: &str) -> Piece {
        Piece::Link {
            line,
            target: target.to_owned(),
        }
    }

    #[test]
    fn spans_are_found_across_lines() {
        let document = "# A `b`\n\nSome `holdfast\nbackup` and ``a ` b``, an odd ` here.\n";
        assert_eq!(
            pieces(document),
            [span(1, "b"), span(3, "holdfast backup"), span(4, "a ` b")]
        );
    }

    #[test]
    fn fences_know_their_language() {
        let document = "text\n```sh\nholdfast `x`\n\n```\n~~~~\n```\n~~~~\n`s`\n";
        assert_eq!(
            pieces(document),
            [
                code(3, "sh", "holdfast `x`"),
                code(4, "sh", ""),
                code(7, "", "```"),
                span(9, "s")
            ]
        );
    }

    #[test]
    fn indented_blocks_are_code_but_not_in_lists() {
        let document = "text\n\n    holdfast a\n    holdfast b\n\n- item\n\n    more `c`\n";
        assert_eq!(
            pieces(document),
            [
                code(3, "", "    holdfast a"),
                code(4, "", "    holdfast b"),
                span(8, "c")
            ]
        );
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let document = "[a](docs/A.md) `[b](c)`\n[d](<e f> \"title\")\n\n[label]: docs/G.md#part\n";
        assert_eq!(
            pieces(document),
            [
                span(1, "[b](c)"),
                link(1, "docs/A.md"),
                link(2, "e"),
                link(4, "docs/G.md#part")
            ]
        );
    }

    #[test]
    fn places_survive_wide_characters() {
        assert_eq!(
            pieces("`é` é [a](b)\n[c](d)"),
            [span(1, "é"), link(1, "b"), link(2, "d")]
        );
    }
}
