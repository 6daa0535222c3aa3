//! Gives every option its environment twin, so that none is forgotten: `--limit-rate` is `HOLDFAST_LIMIT_RATE`.
//!
//! An option whose name means different things in different commands names its twin itself. Switches take yes and no in
//! the usual words; options that may be given several times take one value a line, but for those that name their twin
//! themselves: their values are names of files, which may hold line breaks.

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, Command};

/// Adds the twins to a command and all below it.
pub(crate) fn with_twins(command: Command) -> Command {
    command.mut_args(with_twin).mut_subcommands(with_twins)
}

fn with_twin(arg: Arg) -> Arg {
    let Some(long) = arg.get_long() else {
        return arg;
    };
    let twin = format!("HOLDFAST_{}", long.replace('-', "_").to_ascii_uppercase());
    let names_its_twin = arg.get_env().is_some();
    let arg = match names_its_twin {
        true => arg,
        false => arg.env(leak(twin)),
    };
    let arg = arg.hide_env_values(true);
    let is_list = matches!(arg.get_action(), ArgAction::Append);
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ if is_list && !names_its_twin && arg.get_value_delimiter().is_none() => {
            arg.value_delimiter('\n')
        }
        _ => arg,
    }
}

/// Option names live as long as the program.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}
