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

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::histogram::Distribution;
use super::snapshot::Snapshot;

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

/// Labels of one sample: a backend and at most one more, or none.
#[derive(Clone, Copy, Debug, Default)]
struct Labels<'a>([Option<(&'static str, &'a str)>; 2]);

impl<'a> Labels<'a> {
    fn none() -> Self {
        Self::default()
    }

    fn one(name: &'static str, value: &'a str) -> Self {
        Self([Some((name, value)), None])
    }

    fn and(self, name: &'static str, value: &'a str) -> Self {
        Self([self.0[0], Some((name, value))])
    }

    fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        use prometheus_client::encoding::EncodeLabel;
        for (name, value) in self.0.into_iter().flatten() {
            (name, value).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// What the metrics are written on, one family after the other.
struct Sheet<'a>(DescriptorEncoder<'a>);

/// A number as it is told.
#[derive(Clone, Copy, Debug)]
enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

impl Sheet<'_> {
    /// A number that only grows. `name` is without `_total`.
    fn counter<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, Value)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |encoder| {
            for (labels, value) in samples {
                sample(encoder, labels, |encoder| match value {
                    Value::Whole(value) => {
                        encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
                    }
                    Value::Real(value) => {
                        encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
                    }
                })?;
            }
            Ok(())
        })
    }

    /// A number that goes up and down.
    fn gauge<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, Value)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |encoder| {
            for (labels, value) in samples {
                sample(encoder, labels, |encoder| match value {
                    Value::Whole(value) => encoder.encode_gauge(&value),
                    Value::Real(value) => encoder.encode_gauge(&value),
                })?;
            }
            Ok(())
        })
    }

    fn histogram<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, Distribution)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, |encoder| {
            for (labels, told) in samples {
                sample(encoder, labels, |encoder| {
                    encoder.encode_histogram::<NoLabelSet>(
                        told.sum_seconds(),
                        told.count(),
                        &told.buckets(),
                        None,
                    )
                })?;
            }
            Ok(())
        })
    }

    /// What never changes while the process lives. `name` is without `_info`.
    fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) -> fmt::Result {
        self.family(name, help, MetricType::Info, |encoder| {
            encoder.encode_info(&labels)
        })
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        samples: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let (stem, unit) = split_unit(name);
        samples(
            &mut self
                .0
                .encode_descriptor(stem, help, unit.as_ref(), metric_type)?,
        )
    }
}

fn sample(
    encoder: &mut MetricEncoder<'_>,
    labels: Labels<'_>,
    value: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() {
        return value(encoder);
    }
    value(&mut encoder.encode_family(&labels)?)
}

/// A name without its unit, and the unit: OpenMetrics tells it in a line of its own.
fn split_unit(name: &str) -> (&str, Option<Unit>) {
    match name.rsplit_once('_') {
        Some((stem, "seconds")) => (stem, Some(Unit::Seconds)),
        Some((stem, "bytes")) => (stem, Some(Unit::Bytes)),
        Some((stem, "ratio")) => (stem, Some(Unit::Ratios)),
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests;
