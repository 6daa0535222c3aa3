//! Figures of the coordinator itself: who it is, its lease, what its sites were asked.

use std::time::Duration;

use super::page::{Metric, Page, counter, gauge};
use crate::node::Node;

/// A placement store that takes longer is told as one that does not answer: the page is wanted within seconds.
const PLACEMENT_WAIT: Duration = Duration::from_secs(2);

const BUILD: Metric = gauge(
    "holdfast_build_info",
    "Always 1; the labels say which release runs, and under which name.",
);
const STARTED: Metric = gauge(
    "holdfast_start_time_seconds",
    "When the coordinator was started, as a Unix time.",
);
const BROKEN: Metric = counter(
    "holdfast_invariants_broken_total",
    "Checks of itself that failed; each stops the writer of the vault concerned.",
);
const PLACEMENT_UP: Metric = gauge(
    "holdfast_placement_up",
    "Whether the placement store answers (1) or not (0).",
);
const LEASE_HELD: Metric = gauge(
    "holdfast_lease_held",
    "Whether the placement store lists this coordinator: its lease stands (1) or has run out (0).",
);
const LEASE_LASTS: Metric = gauge(
    "holdfast_lease_duration_seconds",
    "How long the lease lasts without renewal.",
);
const LIVE: Metric = gauge(
    "holdfast_coordinators",
    "Coordinators that the placement store lists.",
);
const SITE_OPEN: Metric = gauge(
    "holdfast_store_open",
    "Whether the site was opened (1), or cannot be (0).",
);
const REQUESTS: Metric = counter(
    "holdfast_store_requests_total",
    "Requests to the site, by kind, retries included.",
);
const FAILURES: Metric = counter(
    "holdfast_store_failures_total",
    "Requests to the site that got no useful answer.",
);
const WRITTEN: Metric = counter(
    "holdfast_store_written_bytes_total",
    "Bytes of objects sent to the site.",
);
const READ: Metric = counter(
    "holdfast_store_read_bytes_total",
    "Bytes of objects received from the site.",
);
const FREE: Metric = gauge(
    "holdfast_store_free_bytes",
    "Free bytes at the site, where it tells.",
);

/// Tells them.
pub(super) async fn tell(node: &Node, page: &mut Page) {
    let labels = [
        ("version", node.options.version.as_str()),
        ("coordinator", node.options.name.as_str()),
    ];
    page.count(BUILD, &labels, 1);
    page.moment(STARTED, &[], node.started_millis);
    page.count(BROKEN, &[], holdfast_vault::invariant::breaches());
    page.add(LEASE_LASTS, &[], node.options.lease.as_secs_f64());
    tell_placement(node, page).await;
    tell_sites(node, page);
}

async fn tell_placement(node: &Node, page: &mut Page) {
    let asked = tokio::time::timeout(PLACEMENT_WAIT, node.placement.coordinators()).await;
    let Ok(Ok(coordinators)) = asked else {
        // Whether the lease stands is not known then: no figure is better than a wrong one.
        page.flag(PLACEMENT_UP, &[], false);
        return;
    };
    page.flag(PLACEMENT_UP, &[], true);
    page.count(LIVE, &[], coordinators.len() as u64);
    let mut coordinators = coordinators.iter();
    let held = coordinators
        .any(|one| one.name == node.options.name && one.started_millis == node.started_millis);
    page.flag(LEASE_HELD, &[], held);
}

fn tell_sites(node: &Node, page: &mut Page) {
    for (name, _, _) in node.sites.list() {
        let site = name.as_str();
        let opened = node.sites.opened(&name);
        page.flag(SITE_OPEN, &[("site", site)], opened.is_some());
        let Some(opened) = opened else { continue };
        let counters = opened.site.counters();
        for (kind, count) in [
            ("put", counters.puts),
            ("get", counters.gets),
            ("head", counters.heads),
            ("list", counters.lists),
            ("delete", counters.deletes),
        ] {
            page.count(REQUESTS, &[("site", site), ("kind", kind)], count);
        }
        page.count(FAILURES, &[("site", site)], counters.failures);
        page.count(WRITTEN, &[("site", site)], counters.bytes_written);
        page.count(READ, &[("site", site)], counters.bytes_read);
        if let Ok(Some(space)) = opened.site.space() {
            page.count(FREE, &[("site", site)], space.free_bytes);
        }
    }
}
