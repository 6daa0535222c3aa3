//! Text that looks like a project's source code to whatever compresses or deduplicates it: identifiers of which few are
//! frequent and many are rare, statements of a dozen shapes, indentation, comments, numbers, a license.

use holdfast_tests::Noise;

const ONSETS: [&str; 20] = [
    "b", "c", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "ch",
    "pl", "qu",
];
const VOWELS: [&str; 8] = ["a", "e", "i", "o", "u", "ea", "io", "ou"];
const CODAS: [&str; 10] = ["", "", "", "n", "r", "t", "s", "ck", "ng", "x"];

/// How much more often small numbers are drawn: 1 is not at all.
const EXPONENT: f64 = 1.5;
/// Words that all projects have in common.
const STEMS: u64 = 20_000;
/// Identifiers of one project.
const IDENTIFIERS: usize = 8000;
/// A file has so many of its own at least, and one more for each so many bytes of it.
const OWN_MIN: usize = 10;
const OWN_EVERY: usize = 60;
/// Statements; `@` is an identifier, `#` a number, `$` a type, `~` some words.
const SHAPES: [&str; 16] = [
    "let @ = @.@(@);",
    "let @ = @::@(&@, #)?;",
    "let mut @: $ = $::new();",
    "@.@ = @.@;",
    "if @.@() == @ {",
    "if let Some(@) = @.@(#) {",
    "for @ in @.@() {",
    "match @ {",
    "$::@(@) => @,",
    "return Err($::@(\"~\"));",
    "pub fn @(&self, @: $, @: &$) -> $ {",
    "fn @(@: &mut $) -> Option<$> {",
    "assert_eq!(@.@(), #);",
    "use @::@::$;",
    "// ~",
    "/// ~ @ ~.",
];

/// See the module header.
#[derive(Debug)]
pub(super) struct Language {
    identifiers: Vec<String>,
    types: Vec<String>,
}

impl Language {
    /// The language of one project.
    pub(super) fn new(noise: &mut Noise) -> Self {
        let mut identifiers = Vec::with_capacity(IDENTIFIERS);
        let mut types = Vec::with_capacity(IDENTIFIERS / 4);
        for number in 0..IDENTIFIERS {
            let words: Vec<String> = (0..noise.below(3) + 1)
                .map(|_| stem(frequent(noise, STEMS)))
                .collect();
            identifiers.push(words.join("_"));
            if number % 4 == 0 {
                types.push(words.iter().map(|word| capital(word)).collect());
            }
        }
        Self { identifiers, types }
    }

    /// A folder's name; the same number has the same name.
    pub(super) fn folder(&self, number: u64) -> &str {
        &self.identifiers[number as usize % self.identifiers.len()]
    }

    /// A file's name, without what makes it the only one.
    pub(super) fn name(&self, noise: &mut Noise) -> &str {
        pick(noise, &self.identifiers)
    }

    /// A comment of so many words.
    pub(super) fn license(&self, noise: &mut Noise, words: usize) -> String {
        let mut text = String::new();
        for number in 0..words {
            text.push_str(if number % 12 == 0 { "\n// " } else { " " });
            text.push_str(&stem(frequent(noise, STEMS)));
        }
        text.push_str("\n\n");
        text
    }

    /// Adds lines until the text is so long, or a little longer.
    pub(super) fn fill(&self, noise: &mut Noise, text: &mut String, length: usize) {
        let count = OWN_MIN + length / OWN_EVERY;
        let own: Vec<&str> = (0..count)
            .map(|_| self.identifiers[noise.below(IDENTIFIERS as u64) as usize].as_str())
            .collect();
        let mut depth = 1;
        while text.len() < length {
            (0..depth).for_each(|_| text.push_str("    "));
            let shape = SHAPES[frequent(noise, SHAPES.len() as u64) as usize];
            self.statement(noise, text, shape, &own);
            text.push('\n');
            if shape.ends_with('{') && depth < 6 {
                depth += 1;
            } else if depth > 0 && noise.below(4) == 0 {
                depth -= 1;
                (0..depth).for_each(|_| text.push_str("    "));
                text.push_str(if depth == 0 { "}\n\n" } else { "}\n" });
            }
        }
    }

    fn statement(&self, noise: &mut Noise, text: &mut String, shape: &str, own: &[&str]) {
        for letter in shape.chars() {
            match letter {
                '@' if noise.below(5) > 0 => {
                    text.push_str(own[frequent(noise, own.len() as u64) as usize])
                }
                '@' => text.push_str(pick(noise, &self.identifiers)),
                '$' => text.push_str(pick(noise, &self.types)),
                '#' => text.push_str(&frequent(noise, 100_000).to_string()),
                '~' => {
                    for _ in 0..noise.below(7) + 2 {
                        text.push_str(&stem(frequent(noise, STEMS)));
                        text.push(' ');
                    }
                    text.pop();
                }
                other => text.push(other),
            }
        }
    }
}

fn pick<'a>(noise: &mut Noise, words: &'a [String]) -> &'a str {
    &words[frequent(noise, words.len() as u64) as usize]
}

/// A number below `end`, small ones more often, by a law like Zipf's with its exponent below 1: each file of a real tree has words of
/// its own too.
fn frequent(noise: &mut Noise, end: u64) -> u64 {
    let share = noise.below(1 << 32) as f64 / (1_u64 << 32) as f64;
    let number = end as f64 * share.powf(EXPONENT);
    (number as u64).min(end - 1)
}

/// The word of this number.
fn stem(number: u64) -> String {
    let mut noise = Noise::new(number);
    let mut word = String::new();
    for _ in 0..noise.below(2) + 1 + u64::from(number > 50) {
        for part in [&ONSETS[..], &VOWELS, &CODAS] {
            word.push_str(part[noise.below(part.len() as u64) as usize]);
        }
    }
    word
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}
