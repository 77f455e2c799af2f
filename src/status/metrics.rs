//! `/metrics`: every number, in the OpenMetrics text form, or in Prometheus' own older one for who
//! takes only that.
//!
//! [`prometheus_client`] writes OpenMetrics; `plain` makes the older form of it. What a metric
//! means is its help text, here and nowhere else; `docs/metrics.md` is made of it (`tests/observe`
//! compares them).
//!
//! Built anew for each scrape, from a snapshot: a scrape every few seconds may cost some
//! allocations, a record may not.

mod backends;
mod plain;
mod process;
mod sheet;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::snapshot::Snapshot;
use sheet::Sheet;

/// The two forms of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Plain,
}

impl Form {
    /// The form for who accepts this: OpenMetrics, unless the older one is asked for and
    /// OpenMetrics is not.
    #[must_use]
    pub fn accepted(accept: Option<&[u8]>) -> Self {
        let names = |media: &str| {
            let media = media.as_bytes();
            accept.is_some_and(|accept| {
                accept
                    .windows(media.len())
                    .any(|part| part.eq_ignore_ascii_case(media))
            })
        };
        if names("text/plain") && !names("application/openmetrics-text") {
            Self::Plain
        } else {
            Self::OpenMetrics
        }
    }

    /// For `Content-Type`.
    #[must_use]
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Replaces `body` by all metrics.
pub fn write(snapshot: &Snapshot, form: Form, body: &mut String) {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(snapshot.clone())));
    body.clear();
    // Writing to a `String` cannot fail, and nothing that is written can be refused.
    let written = text::encode(body, &registry);
    debug_assert!(written.is_ok());
    if form == Form::Plain {
        *body = plain::from_open_metrics(body);
    }
}

#[derive(Debug)]
struct All(Snapshot);

impl Collector for All {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        backends::encode(&self.0, &mut sheet)?;
        process::encode(&self.0, &mut sheet)
    }
}

#[cfg(test)]
mod tests;
