//! Differences that are looked at again, and mended.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::left::Left;
use super::read::{each, files};
use super::selection::Selection;
use super::settle::Settlements;
use super::show::write_difference;
use crate::cli::failure::Failure;
use crate::cli::local_time::now_unix;
use crate::cli::output;
use crate::cli::tally::Tally;
use crate::cli::waiting;
use crate::config::Config;
use crate::engine::verify::{KeyWithPeer, Verifier};
use crate::limits::VALUE_BYTES_MAX;
use crate::reconcile::decision::Trust;
use crate::reconcile::difference::{Difference, How, hash_of, id_of};
use crate::reconcile::key::{KeyId, Kind, Logged};
use crate::reconcile::outcome::Outcome;
use crate::reconcile::settings::{Deletes, ReconcileMode, ReconcileSettings};
use crate::replay::reconciler::difference_of;

/// Whose state of a key is to stand on both masters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Take {
    /// The other master's, also where it lacks the key
    Peer,
    /// The backend's, also where it lacks the key
    Backend,
}

/// Compares the selected differences again and mends what differs. What is equal then is settled,
/// and of what is not, it prints why.
/// Without `take`, no master is believed about a key of which it has a difference of its own.
pub(super) fn repair(
    config: &Config,
    selection: &Selection,
    take: Option<Take>,
) -> Result<Tally, Failure> {
    let left = Left::read(&config.state_path())?;
    if take.is_some() && selection.scope.backend.is_none() {
        refuse_ambiguous(config, selection, &left)?;
    }
    waiting::warn(config);
    let mut tally = Tally::default();
    for path in files(&config.state_path(), selection)? {
        let mut pairs: BTreeMap<(String, String), Vec<ListedKey>> = BTreeMap::new();
        each(&path, selection, &mut |found| {
            if let Some(key) = key_of(found.difference) {
                let Difference { backend, peer, .. } = found.difference;
                let pair = match take {
                    Some(Take::Backend) => (peer.clone(), backend.clone()),
                    Some(Take::Peer) | None => (backend.clone(), peer.clone()),
                };
                // Who takes a side knows what a copy does.
                let had_ttl = found.difference.had_ttl && take.is_none();
                pairs.entry(pair).or_default().push(ListedKey {
                    trust: match take {
                        Some(_) => Trust::Everything,
                        None => left.trust(peer, &key),
                    },
                    key,
                    had_ttl,
                    line: hash_of(found.line),
                });
            }
            Ok(())
        })?;
        for ((backend, peer), keys) in pairs {
            repair_pair(config, &path, &backend, &peer, keys, take, &mut tally)?;
        }
    }
    Ok(tally)
}

/// Who takes a side of a key that two backends have listed has to say whose peer or backend it is:
/// each is the other's.
fn refuse_ambiguous(config: &Config, selection: &Selection, left: &Left) -> Result<(), Failure> {
    for path in files(&config.state_path(), selection)? {
        each(&path, selection, &mut |found| {
            let backends = left.backends_with(found.id);
            match backends.len() {
                0 | 1 => Ok(()),
                _ => Err(io::Error::other(format!(
                    "{:016x} is listed for {}, of which each is the other's peer: say by --backend \
                     whose peer or backend --take means",
                    found.id,
                    backends.join(" and ")
                ))),
            }
        })?;
    }
    Ok(())
}

/// A key that differs.
struct ListedKey {
    key: KeyId,
    /// How far its peer counts.
    trust: Trust,
    /// Whether a record of it carried a ttl.
    had_ttl: bool,
    /// The line about it ([`hash_of`]).
    line: u64,
}

/// Compares keys of a backend with one peer, which counts where `take` says so. What is equal is
/// settled as it is found: whoever is interrupted keeps what was mended.
fn repair_pair(
    config: &Config,
    path: &Path,
    backend: &str,
    peer: &str,
    keys: Vec<ListedKey>,
    take: Option<Take>,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let configured = config.sync.reconcile_settings();
    let reconcile = ReconcileSettings {
        mode: ReconcileMode::Repair,
        deletes: match take {
            Some(_) => Deletes::All,
            None => configured.deletes,
        },
        // What is listed is more than a version that differs.
        values: true,
        value_bytes_max: VALUE_BYTES_MAX,
        ..configured
    };
    let lines: HashMap<u64, u64> = keys
        .iter()
        .map(|listed| (id_of(&listed.key), listed.line))
        .collect();
    let keys = keys.into_iter().map(|listed| KeyWithPeer {
        key: listed.key,
        logged: Logged {
            had_ttl: listed.had_ttl,
            // A record that removes a key makes whatever the peer has newer than it.
            is_removed: take.is_some(),
            ..Logged::default()
        },
        peer: Arc::from(peer),
        trust: listed.trust,
    });
    let mut settlements = Settlements::new(path);
    let mut written = Ok(());
    let compared =
        Verifier::new(config, backend, reconcile)?.compare(keys.collect(), &mut |compared| {
            tally.add(compared.outcome);
            let how = match compared.outcome {
                Outcome::Equal => How::Equal,
                Outcome::Mended(_) => How::Mended,
                Outcome::Reported(left) => {
                    let mut difference = difference_of(backend, compared, left, now_unix());
                    if take == Some(Take::Backend) {
                        difference.swap_masters();
                    }
                    // Where it can't be written, the rest is settled all the same.
                    if written.is_ok() {
                        let out = &mut io::stdout().lock();
                        written = write_difference(difference.id(), &difference, out);
                    }
                    return;
                }
                Outcome::Skipped(_) => return,
            };
            let id = id_of(&compared.key);
            // A disk that fails is said at the end: what is settled waits for it.
            let _ = settlements.add(id, lines[&id], how);
        });
    settlements.write().map_err(|cause| cause.to_string())?;
    compared?;
    Ok(output::unless_closed(written)?)
}

/// The key of a difference; `None` where this version does not know its kind.
fn key_of(difference: &Difference) -> Option<KeyId> {
    let kind = Kind::from_name(&difference.kind)?;
    Some(KeyId {
        kind,
        table: difference.table.as_slice().into(),
        key: difference.key.as_slice().into(),
        body: difference.member.as_deref().map(Into::into),
    })
}
