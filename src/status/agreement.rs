//! How far the two masters of a pair agree.

use super::snapshot::BackendSnapshot;

/// How far the two masters are known to agree on the keys of a backend's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Keys are not compared, or all of them were, and are equal.
    Equal,
    /// There are logs whose keys are not compared yet: one is deleted once they are.
    Comparing,
    /// All were compared, and so many differ.
    Differ(u64),
}

impl Agreement {
    /// Of one backend.
    #[must_use]
    pub fn of(backend: &BackendSnapshot) -> Self {
        match &backend.reconcile {
            Some(reconcile) if reconcile.is_on() => match reconcile.differences_left {
                _ if backend.counts.log_files > 0 => Self::Comparing,
                0 => Self::Equal,
                left => Self::Differ(left),
            },
            Some(_) | None => Self::Equal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::reconcile::{OFF, Reconcile};

    #[test]
    fn what_is_to_be_compared_or_differs_does_not_agree() {
        let check = |mode: &'static str, log_files, differences_left, expected| {
            let mut backend = BackendSnapshot {
                reconcile: Some(Reconcile {
                    mode: mode.into(),
                    differences_left,
                    ..Reconcile::default()
                }),
                ..BackendSnapshot::default()
            };
            backend.counts.log_files = log_files;
            assert_eq!(Agreement::of(&backend), expected);
        };
        check("report", 0, 0, Agreement::Equal);
        check("report", 1, 2, Agreement::Comparing);
        check("repair", 0, 2, Agreement::Differ(2));
        check(OFF, 1, 2, Agreement::Equal);
        let off = BackendSnapshot::default();
        assert_eq!(Agreement::of(&off), Agreement::Equal);
    }
}
