//! Figures of each vault, and of each of its sites: what `holdfast status` shows, and what was done last.

use std::collections::BTreeMap;

use super::page::{Metric, Page, counter, gauge};
use crate::node::{Node, Slot};
use crate::services::convert;
use crate::vault::Vault;

const OWNER: Metric = gauge(
    "holdfast_vault_owner",
    "Whether this coordinator owns the vault (1) or not (0): summed over all of them, 1.",
);
const EPOCH: Metric = gauge(
    "holdfast_vault_epoch",
    "The epoch of this coordinator's ownership; each takeover has a higher one.",
);
const SESSIONS: Metric = gauge("holdfast_vault_open_sessions", "Uploads under way.");
const SNAPSHOTS: Metric = gauge(
    "holdfast_vault_snapshots",
    "Snapshots by state: committed (not at every site yet), protected, verified, damaged (as a verification found), trash.",
);
const PROTECTED: Metric = gauge(
    "holdfast_vault_protected",
    "Whether every snapshot stands at every site (1) or not (0); holdfast status says why.",
);
const MEMBERS: Metric = gauge("holdfast_vault_sites", "Sites that the vault lies at.");
const STORED: Metric = gauge(
    "holdfast_vault_stored_bytes",
    "Bytes of live packs, at one site.",
);
const CHUNKS: Metric = gauge("holdfast_vault_chunks", "Live chunks.");
const PACKS: Metric = gauge("holdfast_vault_packs", "Live packs.");
const LAST: Metric = gauge(
    "holdfast_source_last_snapshot_time_seconds",
    "When the newest snapshot of the source was committed, as a Unix time.",
);
const VERIFIED_AT: Metric = gauge(
    "holdfast_verification_last_time_seconds",
    "When a verification ended last, as a Unix time; told by the owner that ran it.",
);
const FINDINGS: Metric = gauge(
    "holdfast_verification_last_findings",
    "What the last verification found, and did not repair.",
);
const REPAIRED: Metric = gauge(
    "holdfast_verification_last_repaired",
    "What the last verification found, and repaired.",
);
const UNCHECKED: Metric = gauge(
    "holdfast_verification_last_sites_unchecked",
    "Sites that did not answer the last verification.",
);
const COLLECTED_AT: Metric = gauge(
    "holdfast_collection_last_time_seconds",
    "When a collection ended last with nothing left to sweep, as a Unix time; told by the owner that ran it.",
);
const FREED_LAST: Metric = gauge(
    "holdfast_collection_last_freed_bytes",
    "Bytes that the last sweep freed at each site.",
);
const FREED: Metric = counter(
    "holdfast_collection_freed_bytes_total",
    "Bytes that sweeps freed at each site, since this coordinator owns the vault.",
);
const PRIMARY: Metric = gauge(
    "holdfast_site_primary",
    "Whether the site is the vault's primary (1) or not (0).",
);
const REACHABLE: Metric = gauge(
    "holdfast_site_reachable",
    "Whether the site answered when it was last asked (1) or not (0).",
);
const LAG_RECORDS: Metric = gauge("holdfast_site_lag_records", "Records that the site lacks.");
const LAG_BYTES: Metric = gauge(
    "holdfast_site_lag_bytes",
    "Bytes of packs that those records add.",
);
const LAG_SECONDS: Metric = gauge(
    "holdfast_site_lag_seconds",
    "Age of the oldest record that the site lacks: what would be lost with the primary.",
);
const REPLICATED_EPOCH: Metric = gauge(
    "holdfast_site_replicated_epoch",
    "Epoch of the last record that stands at the site.",
);
const REPLICATED_SLOT: Metric = gauge(
    "holdfast_site_replicated_slot",
    "Slot, within its epoch, of the last record that stands at the site.",
);
const TO_SWEEP: Metric = gauge(
    "holdfast_site_waiting_sweep_bytes",
    "Bytes that are condemned and not deleted at the site yet.",
);

/// Tells them.
pub(super) fn tell(node: &Node, page: &mut Page) {
    let slots = node.list();
    for slot in &slots {
        // Two samples must not bear the same labels.
        let same = |other: &&Slot| other.header.name == slot.header.name;
        let name = match slots.iter().filter(same).count() {
            1 => slot.header.name.to_string(),
            _ => format!("{} {}", slot.header.name, slot.header.vault),
        };
        let name = name.as_str();
        let open = slot.vault.as_ref();
        let open = open.filter(|vault| !vault.stop.is_cancelled());
        page.flag(OWNER, &[("vault", name)], open.is_some());
        let Some(vault) = open else { continue };
        tell_vault(name, vault, page);
        tell_upkeep(name, vault, page);
        let shown = convert::vault(node, slot);
        page.count(SESSIONS, &[("vault", name)], shown.open_sessions);
        page.count(STORED, &[("vault", name)], shown.stored_bytes);
        page.count(CHUNKS, &[("vault", name)], shown.chunks);
        page.count(PACKS, &[("vault", name)], shown.packs);
        page.count(MEMBERS, &[("vault", name)], shown.sites.len() as u64);
        for site in &shown.sites {
            tell_site(name, site, page);
        }
    }
}

fn tell_vault(name: &str, vault: &Vault, page: &mut Page) {
    page.count(EPOCH, &[("vault", name)], vault.claimant.epoch.0);
    let counts = vault.snapshot_counts();
    for (state, count) in [
        ("committed", counts.committed),
        ("protected", counts.protected),
        ("verified", counts.verified),
        ("damaged", counts.damaged),
        ("trash", counts.trash),
    ] {
        page.count(SNAPSHOTS, &[("vault", name), ("state", state)], count);
    }
    page.flag(
        PROTECTED,
        &[("vault", name)],
        counts.committed + counts.damaged == 0,
    );
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for (_, snapshot) in vault.state().catalog.live_snapshots() {
        let last = newest.entry(snapshot.source.to_string()).or_default();
        *last = (*last).max(snapshot.committed_millis);
    }
    for (source, millis) in &newest {
        page.moment(LAST, &[("vault", name), ("source", source)], *millis);
    }
}

fn tell_upkeep(name: &str, vault: &Vault, page: &mut Page) {
    let known = vault.upkeep.known();
    let labels = [("vault", name)];
    if let Some(verified) = known.verified {
        let open = verified.findings.saturating_sub(verified.repaired);
        page.moment(VERIFIED_AT, &labels, verified.ended_millis);
        page.count(FINDINGS, &labels, open);
        page.count(REPAIRED, &labels, verified.repaired);
        page.count(UNCHECKED, &labels, verified.sites_unchecked);
    }
    if let Some(millis) = known.collected_millis {
        page.moment(COLLECTED_AT, &labels, millis);
    }
    page.count(FREED_LAST, &labels, known.freed_bytes_last);
    page.count(FREED, &labels, known.freed_bytes);
}

fn tell_site(vault: &str, site: &holdfast_proto::v1::SiteProgress, page: &mut Page) {
    let labels = [("vault", vault), ("site", site.site.as_str())];
    page.flag(PRIMARY, &labels, site.primary);
    // One that was not asked yet is neither.
    if !site.pending {
        page.flag(REACHABLE, &labels, site.reachable);
    }
    page.count(LAG_RECORDS, &labels, site.lag_records);
    page.count(LAG_BYTES, &labels, site.lag_bytes);
    page.add(LAG_SECONDS, &labels, site.lag_seconds);
    page.count(TO_SWEEP, &labels, site.waiting_sweep_bytes);
    if let Some(at) = &site.replicated {
        page.count(REPLICATED_EPOCH, &labels, at.epoch);
        page.count(REPLICATED_SLOT, &labels, at.slot);
    }
}
