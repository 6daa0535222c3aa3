//! Holdfast beside restic, rustic, BorgBackup and bupstash: the same data, the same disk, the same steps, in turns.
//!
//! | module | what |
//! |---|---|
//! | [`settings`] | what `cargo xtask bench peers` hands over |
//! | [`sets`] | the data and its second day |
//! | [`step`] | what each tool is asked to do |
//! | [`peer`], [`peers`] | other tools: their commands are data |
//! | [`holdfast`] | ours: agent, coordinator, two sites |
//! | [`tool`] | one of all these, with its setting |
//! | [`work`] | the folders of one tool in one round |
//! | [`rounds`] | who runs when |
//! | [`measuring`] | what a command costs |
//! | [`contents`] | whether a restore brought back what was there |
//! | [`sample`] | what was measured, medians |
//! | [`target`], [`table`], [`machine`] | what is printed |

#![expect(clippy::unwrap_used, reason = "a bench ends where its ground is gone")]

mod contents;
mod holdfast;
mod machine;
mod measuring;
mod peer;
mod peers;
mod rounds;
mod sample;
mod sets;
mod settings;
mod step;
mod table;
mod target;
mod tool;
mod work;

use std::process::ExitCode;

use crate::settings::Settings;
use crate::tool::Tool;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((first, rest)) if first == measuring::HELPER => return measuring::run_helper(rest),
        // `cargo test --benches` passes this: there is nothing to test.
        _ if words.iter().any(|word| word == "--test") => return ExitCode::SUCCESS,
        _ => {}
    }
    let settings = Settings::read();
    let mut tools = Tool::all();
    let names: Vec<String> = tools.iter().map(|tool| tool.name()).collect();
    if let Some(unknown) = settings.unknown_tool(&names) {
        eprintln!(
            "there is no tool or setting {unknown:?}; there are: {}",
            names.join(", ")
        );
        return ExitCode::from(2);
    }
    tools.retain(|tool| settings.has_tool(&tool.name()));
    machine::print(&settings, &tools);
    let outcome = rounds::run(&settings, &tools);
    table::print(&outcome, &tools, settings.part == 1);
    println!("\nRaw samples: {}", settings.results.display());
    match outcome.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
