//! Another tool to compare with: its commands are data.
//!
//! In a command `{source}`, `{repository}`, `{target}` and `{home}` stand for folders, `{step}` for the step's word, and the word
//! `{setting}` for the words of the setting that is measured.

use std::process::Command;

use crate::measuring::{Cost, measure};
use crate::step::Step;
use crate::work::Work;

/// The arguments of one command.
pub(crate) type Words = &'static [&'static str];

/// See the module header.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Also its program's file name.
    pub(crate) name: &'static str,
    /// What makes it tell its version.
    pub(crate) version: Words,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// What makes a repository; not measured.
    pub(crate) create: &'static [Words],
    pub(crate) backup: &'static [Words],
    pub(crate) restore: &'static [Words],
    /// Nothing if it cannot.
    pub(crate) verify: &'static [Words],
    pub(crate) expire: &'static [Words],
    /// Whether a restore puts the source's whole path below the target, or only what is in the source.
    pub(crate) restores_whole_path: bool,
    pub(crate) settings: &'static [Setting],
}

/// One way to use a peer.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Nothing for the default.
    pub(crate) name: &'static str,
    /// Letters of the sets that it is measured on.
    pub(crate) sets: &'static str,
    /// Letters of those where it compresses with lz4: quicker, and worse, than any level of zstd.
    pub(crate) lz4_on: &'static str,
    pub(crate) words: Words,
}

impl Peer {
    /// What it runs for a step, one command after the other.
    pub(crate) fn commands(&self, step: Step) -> &'static [Words] {
        match step {
            Step::First | Step::Unchanged | Step::DayTwo => self.backup,
            Step::Restore => self.restore,
            Step::Verify => self.verify,
            Step::Expire => self.expire,
            Step::FirstProtected | Step::DayTwoProtected => &[],
        }
    }

    /// Makes a repository.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn create(&self, setting: &Setting, work: &Work) -> Result<(), String> {
        for words in self.create {
            measure(&self.command(words, setting, work, "create"), &work.log())?;
        }
        Ok(())
    }

    /// Runs a step; `None` if it has no such thing.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn run(
        &self,
        setting: &Setting,
        step: Step,
        work: &Work,
    ) -> Result<Option<Cost>, String> {
        let mut sum: Option<Cost> = None;
        for words in self.commands(step) {
            let command = self.command(words, setting, work, step.word());
            let cost = measure(&command, &work.log())?;
            sum = Some(sum.unwrap_or_default().then(cost));
        }
        Ok(sum)
    }

    fn command(&self, words: Words, setting: &Setting, work: &Work, step: &str) -> Command {
        let filled = |text: &str| {
            text.replace("{source}", &work.source)
                .replace("{repository}", &work.repository)
                .replace("{target}", &work.target)
                .replace("{home}", &work.home)
                .replace("{step}", step)
        };
        let mut command = Command::new(work.peers.join(self.name));
        command.env_clear().current_dir(&work.target);
        command.env("HOME", &work.home).env("TZ", "UTC");
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(
            self.environment
                .iter()
                .map(|(name, value)| (name, filled(value))),
        );
        for word in words {
            match *word {
                "{setting}" => command.args(setting.words),
                word => command.arg(filled(word)),
            };
        }
        command
    }
}

impl Setting {
    /// The tool's name with this setting.
    pub(crate) fn of(&self, peer: &Peer) -> String {
        [peer.name, self.name].join(" ").trim_end().to_owned()
    }
}
