//! Differences, as people and as programs read them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use super::read::{Found, each, files};
use super::selection::Selection;
use crate::cli::local_time::local;
use crate::cli::output;
use crate::cli::status::plain;
use crate::ledger::rejected::show_id;
use crate::reconcile::difference::{Difference, Settlement, Stored};

/// Octets of a key or member that a list shows.
const KEY_OCTETS_SHOWN_MAX: usize = 100;

/// A line for each. False: not all that are given by id are left, which is said.
pub(super) fn list(
    state: &Path,
    selection: &Selection,
    json: bool,
    out: &mut impl Write,
) -> io::Result<bool> {
    let has_all = tell_each(state, selection, &mut |found| {
        if json {
            out.write_all(found.line)?;
            out.write_all(b"\n")
        } else {
            write_difference(found.id, found.difference, out)
        }
    })?;
    out.flush()?;
    Ok(has_all)
}

/// All that is known of each; returns what [`list`] does.
pub(super) fn show(state: &Path, selection: &Selection, out: &mut impl Write) -> io::Result<bool> {
    let mut is_first = true;
    let has_all = tell_each(state, selection, &mut |found| {
        if !std::mem::take(&mut is_first) {
            writeln!(out)?;
        }
        write_whole(&found, out)
    })?;
    out.flush()?;
    Ok(has_all)
}

/// Tells each, and at the end, on stderr, how many there were.
fn tell_each(
    state: &Path,
    selection: &Selection,
    tell: &mut dyn FnMut(Found<'_>) -> io::Result<()>,
) -> io::Result<bool> {
    let (mut told, mut unrecognized, mut ids) = (0, 0, BTreeSet::new());
    for path in files(state, selection)? {
        let beside = each(&path, selection, &mut |found| {
            told += 1;
            ids.extend(selection.scope.asked_for(found.id));
            tell(found)
        })?;
        unrecognized += beside.unrecognized;
    }
    match told {
        0 => output::complain("no differences"),
        told => output::complain(count(told)),
    }
    if unrecognized > 0 {
        output::complain(format_args!(
            "hustdbsync: {} further lines of differences.jsonl are not this server's, or torn",
            unrecognized
        ));
    }
    Ok(selection.scope.has_all_ids(ids.len() as u64))
}

/// A line about a difference with this id.
pub(in crate::cli) fn write_difference(
    id: u64,
    difference: &Difference,
    out: &mut impl Write,
) -> io::Result<()> {
    let Difference {
        unix,
        backend,
        peer,
        on_backend,
        on_peer,
        why,
        ..
    } = difference;
    writeln!(
        out,
        "{}  {}  {}  {}  {}  {}, {} on {}  {}",
        show_id(id),
        local(*unix),
        plain(backend),
        difference.seen(),
        key(difference, KEY_OCTETS_SHOWN_MAX),
        stored(*on_backend),
        stored(*on_peer),
        plain(peer),
        plain(why),
    )
}

/// A line about the end of a difference.
pub(in crate::cli) fn write_settlement(
    settlement: &Settlement,
    out: &mut impl Write,
) -> io::Result<()> {
    let Settlement { id, how, unix, .. } = settlement;
    writeln!(
        out,
        "{}  {}  settled: {}",
        show_id(*id),
        local(*unix),
        how.text()
    )
}

fn write_whole(found: &Found<'_>, out: &mut impl Write) -> io::Result<()> {
    let difference = found.difference;
    writeln!(out, "id       {}", show_id(found.id))?;
    writeln!(out, "time     {}", local(difference.unix))?;
    writeln!(out, "key      {}", key(difference, usize::MAX))?;
    if let Some(member) = &difference.member {
        writeln!(out, "member   {}", member.escape_ascii())?;
    }
    for (label, name, had) in [
        ("backend", &difference.backend, difference.on_backend),
        ("peer   ", &difference.peer, difference.on_peer),
    ] {
        writeln!(out, "{label}  {}: {}", plain(name), stored(had))?;
    }
    writeln!(
        out,
        "seen     {}: {}",
        difference.seen(),
        difference.seen_text()
    )?;
    writeln!(
        out,
        "why      {}: {}",
        plain(&difference.why),
        plain(&difference.detail)
    )
}

/// Kind, table and key, with at most so many octets of the key.
fn key(difference: &Difference, octets_max: usize) -> String {
    let kind = plain(&difference.kind);
    let shown = &difference.key[..difference.key.len().min(octets_max)];
    let more = if shown.len() < difference.key.len() {
        "…"
    } else {
        ""
    };
    match &*difference.table {
        b"" => format!("{kind} {}{more}", shown.escape_ascii()),
        table => format!(
            "{kind} {} {}{more}",
            table.escape_ascii(),
            shown.escape_ascii()
        ),
    }
}

fn stored(stored: Option<Stored>) -> String {
    match stored {
        None => "nothing".to_owned(),
        Some(Stored {
            version,
            score: None,
        }) => format!("version {version}"),
        Some(Stored {
            version,
            score: Some(score),
        }) => format!("version {version} score {score}"),
    }
}

/// So many differences, in words.
pub(super) fn count(count: u64) -> String {
    match count {
        1 => "1 difference".to_owned(),
        count => format!("{count} differences"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::drop::{Dropped, drop};
    use super::*;
    use crate::reconcile::difference::{FILE_NAME, How, Settlement};

    fn difference(key: &[u8], unix: u64) -> Difference {
        Difference {
            unix,
            backend: "a:1".to_owned(),
            peer: "b:1".to_owned(),
            kind: "sorted_set".to_owned(),
            table: b"t".to_vec(),
            key: key.to_vec(),
            member: None,
            on_backend: Some(Stored {
                version: 7,
                score: Some(-5),
            }),
            on_peer: None,
            had_ttl: false,
            why: "peer_lacks".to_owned(),
            detail: "a \u{1b}[31mdetail".to_owned(),
        }
    }

    /// A state with three differences of one backend, one of them settled, a line of a stranger's
    /// hand, and one that is torn.
    fn state() -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        let mut content = Vec::new();
        let settled = difference(b"settled", 100);
        settled.encode(&mut content);
        difference(b"key\xff", 100).encode(&mut content);
        content.extend_from_slice(b"a note\n");
        let settlement = Settlement {
            id: settled.id(),
            line: None,
            how: How::Mended,
            unix: 150,
        };
        settlement.encode(&mut content);
        let ttl = Difference {
            kind: "key".to_owned(),
            table: Vec::new(),
            on_backend: None,
            on_peer: Some(Stored {
                version: 2,
                score: None,
            }),
            why: "ttl_unknown".to_owned(),
            member: Some(b"m".to_vec()),
            ..difference(b"k", 200)
        };
        ttl.encode(&mut content);
        content.extend_from_slice(b"{\"torn");
        fs::create_dir(state.path().join("a:1")).unwrap();
        fs::write(state.path().join("a:1").join(FILE_NAME), content).unwrap();
        fs::create_dir(state.path().join("b:1")).unwrap();
        state
    }

    fn listed_in(state: &Path, selection: &Selection, json: bool) -> String {
        let mut out = Vec::new();
        list(state, selection, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn listed(selection: &Selection, json: bool) -> String {
        listed_in(state().path(), selection, json)
    }

    #[test]
    fn a_list_has_a_line_for_each_that_is_left_and_selected() {
        let all = listed(&Selection::default(), false);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 2, "{all}");
        let ends = [
            "  a:1  peer_lacks  sorted_set t key\\xff  version 7 score -5, nothing on b:1  \
             peer_lacks",
            "  a:1  backend_lacks  key k  nothing, version 2 on b:1  ttl_unknown",
        ];
        for (line, end) in lines.iter().zip(ends) {
            assert!(line.ends_with(end), "{line}");
        }
        let check = |select: &dyn Fn(&mut Selection), expected: &[&str]| {
            let mut selection = Selection::default();
            select(&mut selection);
            let found = listed(&selection, false);
            assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{selection:?}");
        };
        let id = u64::from_str_radix(&lines[0][..16], 16).unwrap();
        check(&|it| it.scope.since = Some(150), &lines[1..]);
        check(&|it| it.scope.until = Some(150), &lines[..1]);
        check(&|it| it.why = Some("ttl_unknown".to_owned()), &lines[1..]);
        check(&|it| it.seen = Some("peer_lacks".to_owned()), &lines[..1]);
        check(&|it| it.scope.ids = vec![id], &lines[..1]);
        check(&|it| it.scope.backend = Some("b:1".to_owned()), &[]);
        check(&|it| it.scope.backend = Some("a:1".to_owned()), &lines);
    }

    #[test]
    fn json_is_the_line_as_it_stands() {
        let text = listed(&Selection::default(), true);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            first["id"],
            listed(&Selection::default(), false)[..16].to_owned()
        );
        assert_eq!(first["why"], "peer_lacks");
    }

    #[test]
    fn all_that_is_known_is_shown_without_control_characters() {
        let mut out = Vec::new();
        show(state().path(), &Selection::default(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for line in [
            "key      sorted_set t key\\xff\n",
            "key      key k\nmember   m\nbackend  a:1: nothing\npeer     b:1: version 2\n",
            "seen     peer_lacks: the peer lacks it\n",
            "why      peer_lacks: a \u{fffd}[31mdetail\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert_eq!(text.matches("\n\n").count(), 1, "{text}");
    }

    #[test]
    fn a_long_key_is_cut_in_a_list_and_whole_when_shown() {
        let long = difference(&[b'k'; 101], 1);
        let id = long.id();
        let found = Found {
            id,
            difference: &long,
            line: b"",
        };
        let written = |write: fn(&Found<'_>, &mut Vec<u8>) -> io::Result<()>| {
            let mut out = Vec::new();
            write(&found, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let cut = format!("{}…", "k".repeat(100));
        let line = written(|found, out| write_difference(found.id, found.difference, out));
        assert!(line.contains(&cut));
        assert!(written(write_whole).contains(&"k".repeat(101)));
    }

    #[test]
    fn what_is_dropped_is_gone_and_the_rest_is_left() {
        let state = state();
        let by_why = Selection {
            why: Some("ttl_unknown".to_owned()),
            ..Selection::default()
        };
        let dropped = drop(state.path(), &by_why).unwrap();
        assert_eq!(dropped, Dropped { done: 1, left: 1 });
        let left = listed_in(state.path(), &Selection::default(), false);
        assert!(
            left.lines().count() == 1 && left.contains("key\\xff"),
            "{left}"
        );
        // The torn line was ended, and nothing else was changed.
        let path = state.path().join("a:1").join(FILE_NAME);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("{\"torn\n{\"settles\":"), "{text}");
        assert_eq!(
            drop(state.path(), &by_why).unwrap(),
            Dropped { done: 0, left: 1 }
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let all = drop(state.path(), &Selection::default()).unwrap();
        assert_eq!(all, Dropped { done: 1, left: 0 });
        assert_eq!(listed_in(state.path(), &Selection::default(), false), "");
        // It differs again.
        let mut again = fs::read(&path).unwrap();
        difference(b"key\xff", 300).encode(&mut again);
        fs::write(&path, again).unwrap();
        assert_eq!(
            listed_in(state.path(), &Selection::default(), false)
                .lines()
                .count(),
            1
        );
    }

    #[test]
    fn without_state_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none");
        assert_eq!(listed_in(&none, &Selection::default(), false), "");
        assert_eq!(
            drop(&none, &Selection::default()).unwrap(),
            Dropped::default()
        );
    }
}
