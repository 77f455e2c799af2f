//! What the metrics are written on, one family after the other.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, LabelSetEncoder,
    MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::status::histogram::Distribution;

/// Labels of one sample: a backend and at most one more, or none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Labels<'a>([Option<(&'static str, &'a str)>; 2]);

impl<'a> Labels<'a> {
    pub(super) fn none() -> Self {
        Self::default()
    }

    pub(super) fn one(name: &'static str, value: &'a str) -> Self {
        Self([Some((name, value)), None])
    }

    pub(super) fn and(self, name: &'static str, value: &'a str) -> Self {
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
pub(super) struct Sheet<'a>(pub(super) DescriptorEncoder<'a>);

impl Sheet<'_> {
    /// A number that only grows. `name` is without `_total`.
    pub(super) fn counter<'s, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, |encoder| {
            for (labels, value) in samples {
                sample(encoder, labels, |encoder| {
                    encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
                })?;
            }
            Ok(())
        })
    }

    /// A number that goes up and down.
    pub(super) fn gauge<'s, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'s>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, |encoder| {
            for (labels, value) in samples {
                sample(encoder, labels, |encoder| encoder.encode_gauge(&value))?;
            }
            Ok(())
        })
    }

    pub(super) fn histogram<'s>(
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
    pub(super) fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) -> fmt::Result {
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
