//! `cargo xtask ci`: everything that a change has to pass. A step that fails does not keep the others
//! from running, so that one run tells all there is to mend.

use anyhow::bail;

use crate::cli::{CiOptions, CiStep, TestOptions};
use crate::repository::Repository;
use crate::runner::Runner;
use crate::steps::Steps;
use crate::tally::Tally;
use crate::{cargo, deny, protoc, test, tidy};

pub(crate) fn run(
    runner: &Runner,
    repository: &Repository,
    options: &CiOptions,
) -> anyhow::Result<()> {
    let mut run = Run {
        runner,
        repository,
        options,
        steps: Steps::default(),
        tally: None,
        failed: Vec::new(),
    };
    let outcome = run.all();
    println!("\n{}", run.steps.table());
    if let Some(tally) = run.tally {
        println!("{tally}");
    }
    outcome?;
    if !run.failed.is_empty() {
        bail!("failed: {}", run.failed.join(", "));
    }
    Ok(())
}

struct Run<'a> {
    runner: &'a Runner,
    repository: &'a Repository,
    options: &'a CiOptions,
    steps: Steps,
    /// What the tests counted, if they came to run.
    tally: Option<Tally>,
    /// Names of steps that failed.
    failed: Vec<&'static str>,
}

impl Run<'_> {
    /// Runs every step that was asked for.
    ///
    /// # Errors
    /// If interrupted; what else fails is noted.
    fn all(&mut self) -> anyhow::Result<()> {
        if self.options.sweep {
            self.step("sweep", Self::sweep)?;
        }
        if self.is_wanted(CiStep::Fmt) {
            self.step("fmt", Self::fmt)?;
        }
        if self.is_wanted(CiStep::Clippy) {
            self.step("clippy", Self::clippy)?;
        }
        if self.is_wanted(CiStep::Test) {
            self.test()?;
        }
        if self.is_wanted(CiStep::Doc) {
            self.step("doc", Self::doc)?;
        }
        if self.is_wanted(CiStep::Deny) {
            self.step("deny", Self::deny)?;
        }
        if self.is_wanted(CiStep::Tidy) {
            self.step("tidy", Self::tidy)?;
        }
        Ok(())
    }

    fn is_wanted(&self, step: CiStep) -> bool {
        self.options.steps.is_empty() || self.options.steps.contains(&step)
    }

    /// Drops what former runs built of the workspace's own packages.
    fn sweep(&self) -> anyhow::Result<()> {
        let mut command = cargo::command(self.repository, "clean");
        command.arg("--quiet");
        for package in self.repository.packages() {
            // Not this very program: it runs.
            let name = package["name"]
                .as_str()
                .filter(|&name| name != env!("CARGO_PKG_NAME"));
            command.args(name.into_iter().flat_map(|name| ["--package", name]));
        }
        self.runner.run(&mut command)
    }

    fn fmt(&self) -> anyhow::Result<()> {
        self.runner
            .run(cargo::command(self.repository, "fmt").args(["--all", "--check"]))
    }

    fn clippy(&self) -> anyhow::Result<()> {
        protoc::ensure(self.runner, self.repository)?;
        let mut command = cargo::command(self.repository, "clippy");
        command.args(["--locked", "--workspace", "--all-targets", "--all-features"]);
        self.runner.run(command.args(["--", "-D", "warnings"]))
    }

    /// The tests bring steps of their own.
    fn test(&mut self) -> anyhow::Result<()> {
        let options = TestOptions {
            locked: true,
            ..TestOptions::default()
        };
        let tested = test::run(self.runner, self.repository, &options, &mut self.steps);
        self.tally = tested.as_ref().ok().copied();
        let outcome = tested.and_then(|tally| match tally.any_failed() {
            true => bail!("{tally}"),
            false => Ok(()),
        });
        self.note("test", outcome)
    }

    fn doc(&self) -> anyhow::Result<()> {
        protoc::ensure(self.runner, self.repository)?;
        let mut command = cargo::command(self.repository, "doc");
        command.env("RUSTDOCFLAGS", "-Dwarnings");
        self.runner
            .run(command.args(["--locked", "--workspace", "--no-deps", "--all-features"]))
    }

    fn deny(&self) -> anyhow::Result<()> {
        deny::check(self.runner, self.repository, self.options.advisories)
    }

    fn tidy(&self) -> anyhow::Result<()> {
        tidy::run(self.runner, self.repository)
    }

    fn step(
        &mut self,
        name: &'static str,
        step: impl FnOnce(&Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut steps = std::mem::take(&mut self.steps);
        let outcome = steps.run(name, || step(self));
        self.steps = steps;
        self.note(name, outcome)
    }

    fn note(&mut self, name: &'static str, outcome: anyhow::Result<()>) -> anyhow::Result<()> {
        self.runner.interrupt().check()?;
        if let Err(error) = outcome {
            eprintln!("{name}: {error:#}");
            self.failed.push(name);
        }
        Ok(())
    }
}
