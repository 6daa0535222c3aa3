//! Command lines in units, documents, shell scripts and the Containerfile.

use std::collections::BTreeMap;

/// A call of the program, with the variables that it gets.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The program's name first.
    pub(super) words: Vec<String>,
    /// By name.
    pub(super) variables: BTreeMap<String, String>,
}

/// Words of a shell, and of programs that start others, that a command follows.
const BEFORE_A_CALL: [&str; 10] = [
    "--", "!", "&&", "||", ";", "|", "do", "then", "until", "while",
];

/// Whether a word calls the program.
pub(super) fn is_program(word: &str) -> bool {
    word == "holdfast" || word.starts_with('/') && word.ends_with("/holdfast")
}

/// `NAME=value` lines; `#` starts a remark.
pub(super) fn variables(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// `Exec…=` of a systemd unit, with what `Environment=` and `EnvironmentFile=` give it.
pub(super) fn of_unit(name: &str, unit: &str, file: impl Fn(&str) -> String) -> Vec<Line> {
    let settings: Vec<(&str, &str)> = unit
        .lines()
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='))
        .collect();
    let mut given = BTreeMap::new();
    for (key, value) in &settings {
        match *key {
            "Environment" => given.extend(variables(value)),
            "EnvironmentFile" => {
                let base = value.rsplit('/').next().unwrap_or_default();
                given.extend(variables(&file(base)));
            }
            _ => {}
        }
    }
    let commands = settings.iter().filter(|(key, _)| key.starts_with("Exec"));
    let lines = commands.map(|(_, command)| {
        let words = shlex::split(command.trim_start_matches(['-', '+', '@', ':', '!']));
        let words = words.unwrap_or_else(|| panic!("{name}: {command}"));
        assert!(is_program(&words[0]), "{name}: {command}");
        Line {
            words,
            variables: given.clone(),
        }
    });
    lines.collect()
}

/// Calls in the shell blocks of a document.
pub(super) fn of_document(name: &str, document: &str) -> Vec<Line> {
    let blocks = document.split("```").skip(1).step_by(2);
    let scripts = blocks.filter_map(|block| block.strip_prefix("sh\n"));
    scripts.flat_map(|script| of_script(name, script)).collect()
}

/// Calls in a shell script: each from the program's name to what ends a command.
pub(super) fn of_script(name: &str, script: &str) -> Vec<Line> {
    let script = script.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in script.lines() {
        let words = shlex::split(line).unwrap_or_else(|| panic!("{name}: {line}"));
        // Not where it is an argument: a user and a folder may bear the program's name.
        let is_called = |at: usize| at == 0 || BEFORE_A_CALL.contains(&words[at - 1].as_str());
        let at = (0..words.len()).find(|&at| is_program(&words[at]) && is_called(at));
        let Some(at) = at else { continue };
        let ends = |word: &String| ["&", "&&", "|", "||", ";", ">"].contains(&word.as_str());
        let words = words[at..].iter().take_while(|word| !ends(word)).cloned();
        found.push(Line {
            words: words.collect(),
            variables: BTreeMap::new(),
        });
    }
    found
}

/// What an image runs: its entry point with its usual arguments.
pub(super) fn of_containerfile(name: &str, file: &str) -> Vec<Line> {
    let list = |instruction: &str| -> Vec<String> {
        let line = file.lines().find_map(|line| line.strip_prefix(instruction));
        let line = line.unwrap_or_else(|| panic!("{name} has no {instruction}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {instruction}: {error}"))
    };
    let words = [list("ENTRYPOINT"), list("CMD")].concat();
    assert!(is_program(&words[0]), "{name}: {words:?}");
    vec![Line {
        words,
        variables: BTreeMap::new(),
    }]
}

#[test]
fn calls_are_found_among_other_words() {
    let script = "cd /x\nuntil a; do b; done\n  /opt/holdfast/holdfast backup --source 'a b' \\\n   -- c &\nholdfast status || x\nuseradd -d /x/holdfast holdfast\n";
    let found: Vec<_> = of_script("", script)
        .into_iter()
        .map(|line| line.words)
        .collect();
    let backup = [
        "/opt/holdfast/holdfast",
        "backup",
        "--source",
        "a b",
        "--",
        "c",
    ];
    assert_eq!(found, [backup.to_vec(), vec!["holdfast", "status"]]);
}
