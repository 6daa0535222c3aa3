//! A page of metrics in Prometheus' text format 0.0.4: of each family its help, its kind, its samples.
//!
//! The crates that write it keep their figures by themselves or write OpenMetrics, where a counter's family has another name
//! than its samples; here figures are asked for, and the format is a few lines:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the page is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of a sample: names and values.
pub(super) type Labels<'l> = &'l [(&'l str, &'l str)];

/// What a family's figures do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// They rise, or start anew.
    Counter,
    /// They go up and down.
    Gauge,
}

/// A metric: its name, with unit, and what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

/// A gauge.
pub(super) const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        kind: Kind::Gauge,
        name,
        help,
    }
}

/// A counter.
pub(super) const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        kind: Kind::Counter,
        name,
        help,
    }
}

/// See the module header.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: BTreeMap<&'static str, (Metric, String)>,
}

impl Page {
    /// Adds a sample.
    pub(super) fn add(&mut self, metric: Metric, labels: Labels<'_>, value: f64) {
        let (_, samples) = self
            .families
            .entry(metric.name)
            .or_insert_with(|| (metric, String::new()));
        samples.push_str(metric.name);
        for (n, (name, value)) in labels.iter().enumerate() {
            let mark = if n == 0 { '{' } else { ',' };
            let _ = write!(samples, "{mark}{name}=\"{}\"", escaped(value));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(samples, "{end} {value}");
    }

    /// The same of a number of things; exact below 2^53.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus has no other numbers"
    )]
    pub(super) fn count(&mut self, metric: Metric, labels: Labels<'_>, value: u64) {
        self.add(metric, labels, value as f64);
    }

    /// The same of yes and no.
    pub(super) fn flag(&mut self, metric: Metric, labels: Labels<'_>, value: bool) {
        self.add(metric, labels, f64::from(u8::from(value)));
    }

    /// The same of a moment in milliseconds since 1970, told in seconds.
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus has no other numbers"
    )]
    pub(super) fn moment(&mut self, metric: Metric, labels: Labels<'_>, millis: i64) {
        self.add(metric, labels, millis as f64 / 1000.0);
    }

    /// The page.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (metric, samples) in self.families.values() {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(text, "# TYPE {} {kind}", metric.name);
            text.push_str(samples);
        }
        text
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_family_stand_together() {
        let lag = gauge("lag_bytes", "Bytes behind.");
        let done = counter("done_total", "Done.");
        let mut page = Page::default();
        page.count(lag, &[("site", "a\"\\\nb"), ("vault", "v")], 1 << 40);
        page.flag(done, &[], true);
        page.moment(lag, &[("site", "c")], 1500);
        assert_eq!(
            page.text(),
            "# HELP done_total Done.\n# TYPE done_total counter\ndone_total 1\n\
             # HELP lag_bytes Bytes behind.\n# TYPE lag_bytes gauge\n\
             lag_bytes{site=\"a\\\"\\\\\\nb\",vault=\"v\"} 1099511627776\nlag_bytes{site=\"c\"} 1.5\n"
        );
    }
}
