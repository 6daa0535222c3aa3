//! Everyday life: a tree, a coordinator, a vault, two backups, both sites level.

use std::time::Duration;

use holdfast_agent::client::SnapshotState;

use super::backed_up_words;
use crate::demo::changes;
use crate::demo::client::{BackedUp, Client, VAULT};
use crate::demo::commands;
use crate::demo::fingerprint::Fingerprint;
use crate::demo::originals::{GIVEN, MADE, Original};
use crate::demo::sites::{OFFSITE, ONSITE, disk};
use crate::demo::stage::Stage;
use crate::demo::story::{Story, read};
use crate::demo::teller::{Moved, Teller};
use crate::demo::tree::Maker;
use crate::failure::{Failure, Outcome};
use crate::output;

/// A second site on the same machine takes no longer, unless something is wrong.
const PROTECTED_WITHIN: Duration = Duration::from_secs(300);

/// A file that is younger than two seconds when it is backed up is read again the next time, because it may be changing
/// still. Few files are that young in life; the story waits so that these are not.
const SETTLE: Duration = Duration::from_millis(2100);

/// What is needed for each byte that is backed up: two sites, a restore, room for packs that a collection copies.
const ROOM_TENTHS: u64 = 35;

/// Log, checkpoints and the reserve of two sites.
const ROOM_BESIDE: u64 = 200 << 20;

impl Story<'_> {
    pub(in crate::demo) async fn make_tree(&mut self, teller: &mut Teller) -> Outcome<()> {
        let heading = match self.path() {
            None => "make a tree with every awkward kind of file",
            Some(_) => {
                "look at the path that was given, and make a small tree to be backed up along with it"
            }
        };
        teller.begin("make a tree", heading, None)?;
        self.require_room().await?;
        let scale = self.scale.clone();
        let total = Some(scale.bytes());
        let make = move |maker: Maker| maker.make(&scale);
        let (left_out, _) = self.on_tree("making files", total, make).await?;
        for what in &left_out {
            teller.say(format_args!("left out: {what}"))?;
        }
        self.left_out.extend(left_out);
        self.call
            .unless_interrupted(async {
                tokio::time::sleep(SETTLE).await;
                Ok(())
            })
            .await?;
        if let Some(path) = self.path() {
            teller.say(format_args!(
                "{} is source given, and only read; the small tree is source demo, where the story's changes happen",
                output::name(&path.display().to_string())
            ))?;
        }
        let (mut files, mut folders, mut data, mut size) = (0, 0, 0, 0);
        for root in self.roots() {
            let glance = self.glance(&root.path).await?;
            files += glance.files();
            folders += glance.folders();
            data += glance.allocated_bytes();
            size += glance.size_bytes();
        }
        teller.end(
            Moved::default(),
            format!(
                "{} files in {} folders; {} of data, {} with holes",
                output::count(files),
                output::count(folders),
                output::bytes(data),
                output::bytes(size)
            ),
        )
    }

    async fn require_room(&self) -> Outcome<()> {
        let made = self.scale.bytes();
        let mut needed = made + made * ROOM_TENTHS / 10 + ROOM_BESIDE;
        if let Some(path) = self.path() {
            if self.scratch.path().starts_with(path) {
                return Err(Failure::with_advice(
                    format!(
                        "{} holds {}, where the demo works: it would back up its own sites",
                        path.display(),
                        self.scratch.path().display()
                    ),
                    "name a smaller path, or set TMPDIR to a folder outside of it",
                ));
            }
            needed += self.glance(path).await?.allocated_bytes() * ROOM_TENTHS / 10;
        }
        self.scratch.require_room(needed)
    }

    /// Counts and sizes alone.
    async fn glance(&self, top: &std::path::Path) -> Outcome<Fingerprint> {
        let (at, cancel) = (top.to_owned(), self.call.cancel.clone());
        let context = &self.call.context;
        let glance = context.run_blocking(move || Fingerprint::glance(&at, &cancel));
        match glance.await {
            Err(_) if self.call.cancel.is_cancelled() => Err(Failure::interrupted()),
            glance => glance.map_err(|error| Failure::file(top, error)),
        }
    }

    pub(in crate::demo) async fn start(&mut self, teller: &mut Teller) -> Outcome<Stage> {
        teller.begin(
            "start",
            "start a coordinator over two sites, which are folders here",
            Some(commands::COORDINATOR),
        )?;
        for site in [ONSITE, OFFSITE] {
            let disk = disk(self.scratch.path(), site);
            std::fs::create_dir(&disk).map_err(|error| Failure::file(&disk, error))?;
        }
        let start = Stage::start(self.call, self.scratch);
        let stage = self.call.unless_interrupted(start).await?;
        teller.end(Moved::default(), "the coordinator listens on a unix socket")?;
        Ok(stage)
    }

    pub(in crate::demo) async fn create_vault(
        &mut self,
        stage: &Stage,
        teller: &mut Teller,
    ) -> Outcome<Client> {
        teller.begin(
            "create vault",
            "create a vault at both sites; its keys are made here, and the coordinator sees none",
            Some(commands::CREATE),
        )?;
        let connection = self.call.unless_interrupted(stage.connect()).await?;
        let create = Client::create_vault(self.call, connection, self.scratch);
        let client = self.call.unless_interrupted(create).await?;
        teller.end(
            Moved::default(),
            format!("vault {VAULT}: identity.txt opens it, agent.bundle lets an agent write"),
        )?;
        Ok(client)
    }

    pub(in crate::demo) async fn back_up_first(
        &mut self,
        client: &Client,
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "back up",
            "back up to the on-site; the off-site follows by itself",
            Some(commands::BACKUP),
        )?;
        self.back_up(client, None, teller).await?;
        Ok(())
    }

    /// Backs everything up, and ends the step.
    pub(super) async fn back_up(
        &self,
        client: &Client,
        remark: Option<&str>,
        teller: &mut Teller,
    ) -> Outcome<Vec<BackedUp>> {
        let mut all = Vec::new();
        for root in self.roots() {
            if root.source == GIVEN {
                let path = output::name(&root.path.display().to_string());
                teller.say(format_args!("$ {} {path}", commands::BACKUP_GIVEN))?;
            }
            let done = client.back_up(&root).await?;
            if done.problems_count > 0 {
                let first = done.problems.first();
                let told = format!(
                    "{} paths of source {} could not be backed up; the first: {}",
                    output::count(done.problems_count),
                    root.source,
                    first.map_or_else(String::new, |first| first.what.clone())
                );
                match root.source {
                    MADE => return Err(Failure::new(told)),
                    _ => teller.say(told)?,
                }
            }
            all.push(done);
        }
        let moved = Moved {
            read: Some(all.iter().map(|one| one.bytes_read).sum()),
            sent: Some(all.iter().map(|one| one.bytes_sent).sum()),
        };
        if let Some(remark) = remark {
            teller.say(remark)?;
        }
        teller.end(moved, backed_up_words(&all))?;
        Ok(all)
    }

    pub(in crate::demo) async fn change(&mut self, teller: &mut Teller) -> Outcome<Vec<Original>> {
        teller.begin(
            "change things",
            "change things, and note what the tree is now, to compare with later",
            None,
        )?;
        let scale = self.scale.clone();
        let change = move |maker| changes::day_two(&maker, &scale);
        let (what, _) = self.on_tree("changing files", None, change).await?;
        teller.say(what)?;
        let originals = self.originals().await?;
        let noted: u64 = originals
            .iter()
            .map(|one| one.fingerprint().data_bytes())
            .sum();
        teller.end(
            read(noted),
            format!("{} noted, with every attribute", output::bytes(noted)),
        )?;
        Ok(originals)
    }

    pub(in crate::demo) async fn back_up_again(
        &mut self,
        client: &Client,
        mut originals: Vec<Original>,
        teller: &mut Teller,
    ) -> Outcome<(Vec<Original>, Vec<BackedUp>)> {
        teller.begin(
            "back up again",
            "back up again: only what changed is read, and only what is new is sent",
            Some(commands::BACKUP),
        )?;
        let done = self.back_up(client, None, teller).await?;
        self.tell_moved(&mut originals, &done, teller).await?;
        Ok((originals, done))
    }

    /// Finds what changed while it was backed up, which can happen in a given path only.
    pub(super) async fn tell_moved(
        &mut self,
        originals: &mut [Original],
        done: &[BackedUp],
        teller: &Teller,
    ) -> Outcome<()> {
        match self.set_aside(originals, done).await? {
            0 => Ok(()),
            moved => teller.say(format_args!(
                "{} paths changed while they were backed up, and are left out of the comparison",
                output::count(moved)
            )),
        }
    }

    pub(in crate::demo) async fn wait_protected(
        &mut self,
        done: &[BackedUp],
        teller: &mut Teller,
    ) -> Outcome<()> {
        teller.begin(
            "wait",
            "wait until the snapshot is protected: all of it stands at every site",
            Some(commands::SNAPSHOTS),
        )?;
        for one in done {
            let wait = async {
                match tokio::time::timeout(PROTECTED_WITHIN, one.protected()).await {
                    Ok(protected) => protected,
                    Err(_) => Err(Failure::new(format_args!(
                        "the off-site did not follow within {}",
                        output::duration(PROTECTED_WITHIN)
                    ))),
                }
            };
            let info = self.call.unless_interrupted(wait).await?;
            if info.state < SnapshotState::Protected {
                return Err(Failure::new("the snapshot is not protected after all"));
            }
        }
        teller.end(Moved::default(), format!("{} protected", snapshots(done)))
    }
}

/// The snapshots of a backup.
pub(super) fn snapshots(done: &[BackedUp]) -> String {
    let ids = done
        .iter()
        .map(|one| one.info.id.to_string()[..8].to_owned());
    let ids: Vec<String> = ids.collect();
    match ids.as_slice() {
        [one] => format!("snapshot {one} is"),
        _ => format!("snapshots {} are", ids.join(" and ")),
    }
}
