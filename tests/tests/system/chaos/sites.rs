//! What lies at the sites when all has come to its end, read past everybody: each log from its first record on, and the same
//! predicates that the simulator asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_context::Context;
use holdfast_format::{Hash, ObjectName, Position, SiteName, Slot, VaultId};
use holdfast_store::{SiteOptions, SiteReader, open_for_reading};
use holdfast_vault::invariant::{self, Slotted};
use holdfast_vault::log::reader::list_vaults;
use holdfast_vault::{LogReader, State};

use super::judge::Expected;
use super::stage::Stage;
use super::story::Story;

/// A log as it was read: each record's place and hash, and the fold of them all.
struct Log {
    records: Vec<(Position, Hash)>,
    state: State,
}

/// Looks at every vault at each of its sites.
pub(super) async fn look(stage: &Stage, story: &Story, expected: &[Expected]) {
    let options = SiteOptions {
        credentials_file: Some(stage.ground.at("home/.aws/credentials")),
        ..SiteOptions::default()
    };
    let context = Context::system();
    for vault in expected {
        let mut logs = BTreeMap::new();
        for site in vault.sites {
            let name: SiteName = site.parse().expect("it is a name");
            let url = stage.bare_url(site);
            let reader = open_for_reading(&context, name, &url, &options)
                .await
                .unwrap();
            match look_at(reader, story, vault).await {
                Ok(log) => drop(logs.insert(*site, log)),
                Err(error) => story.fail(
                    site,
                    format_args!("the log of {} does not read: {error}", vault.name),
                ),
            }
        }
        compare(story, vault, &logs);
    }
}

async fn look_at(
    site: Arc<dyn SiteReader>,
    story: &Story,
    expected: &Expected,
) -> holdfast_vault::Result<Log> {
    let at = format!("{} at {}", expected.name, site.name());
    let found = list_vaults(site.as_ref()).await?;
    let mut headers = found.into_iter().filter_map(|(_, header)| header.ok());
    let header = headers.find(|header| header.name.as_str() == expected.name);
    let header = header.ok_or_else(|| holdfast_vault::Error::Missing(at.clone()))?;
    let vault = header.vault;
    let mut reader = LogReader::new(site.clone(), vault);
    let (mut records, mut state) = (Vec::new(), State::start(header));
    while let Some(record) = reader.read(state.chain.next()).await? {
        let here = state.chain.next();
        state.take(&record)?;
        records.push((here, record.hash));
    }
    let objects = site.list(&ObjectName::vault_prefix(vault), None).await?;
    let names: BTreeSet<String> = objects
        .iter()
        .map(|object| object.name.to_string())
        .collect();
    let mut found = vec![
        invariant::i1_snapshots_are_whole(&state),
        invariant::i2_live_is_there(&state, &names),
        invariant::i6_scopes_are_apart(&state),
        fenced(&reader, vault).await?,
    ];
    if expected.is_collected {
        let gone = invariant::i7_garbage_is_gone(&state, &names);
        story.count_more("packs that no record names", *gone.as_ref().unwrap_or(&0));
        found.push(gone.map(drop));
        // What a restore was reading when it was killed is held for as long as it had asked for.
        let now = state.chain.time_millis;
        let catalog = &state.catalog;
        let trash = catalog.snapshots.iter().find(|(id, snapshot)| {
            snapshot.trash.is_some() && !catalog.is_held(id, &snapshot.source, now)
        });
        found.push(trash.map_or(Ok(()), |(id, _)| {
            Err(format!("I7: snapshot {id} is in the trash still"))
        }));
    }
    for wrong in found.into_iter().filter_map(Result::err) {
        story.fail(&at, format_args!("{wrong}"));
    }
    story.tell(
        &at,
        format_args!(
            "{} records, {} snapshots, {} objects",
            records.len(),
            state.catalog.snapshots.len(),
            names.len()
        ),
    );
    story.count_more("records compared", records.len() as u64);
    Ok(Log { records, state })
}

/// I4, over all epochs of a site.
async fn fenced(reader: &LogReader, _: VaultId) -> holdfast_vault::Result<Result<(), String>> {
    for epoch in reader.epochs().await? {
        let mut slots = Vec::new();
        for at in reader.slots(epoch, Slot(0)).await? {
            match reader.read_raw(at).await? {
                Some(record) if record.seal().is_some() => slots.push(Slotted::Seal),
                Some(record) => slots.push(Slotted::Record(record.body.nonce)),
                None => {}
            }
        }
        if let Err(wrong) = invariant::i4_fenced(&slots) {
            return Ok(Err(format!("{wrong} in epoch {epoch}")));
        }
    }
    Ok(Ok(()))
}

/// I3, byte for byte as the hashes of records go; and every fold of one log is the same. The members have everything by now, so
/// none may be shorter than another by more than what was written in the last moment.
fn compare(story: &Story, expected: &Expected, logs: &BTreeMap<&str, Log>) {
    let Some((primary, longest)) = logs.iter().max_by_key(|(_, log)| log.records.len()) else {
        return;
    };
    for (site, log) in logs {
        if let Err(wrong) = invariant::i3_prefix(&log.records, &longest.records) {
            story.fail(
                expected.name,
                format_args!("{wrong} (site {site}, against {primary})"),
            );
        }
        if log.state.chain.head == longest.state.chain.head && log.state.hash != longest.state.hash
        {
            story.fail(
                expected.name,
                format_args!("the folds at {site} and {primary} differ"),
            );
        }
    }
}
