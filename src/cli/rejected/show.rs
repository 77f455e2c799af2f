//! Lines that were rejected, as people and as programs read them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use super::read;
use super::select::Selection;
use crate::binlog::Record;
use crate::binlog::line::decode_in_place;
use crate::cli::local_time::local;
use crate::cli::output;
use crate::cli::status::plain;
use crate::ledger::rejected::{RejectedLine, show_id};

/// Characters of a detail that a list shows.
const DETAIL_CHARS_MAX: usize = 100;

/// A line for each. False: not all that are given by id are left, which is said.
pub(super) fn list(
    state: &Path,
    selection: &Selection,
    json: bool,
    out: &mut impl Write,
) -> io::Result<bool> {
    tell_each(state, selection, out, |_, id, line, out| {
        if json {
            write_json(id, line, out)
        } else {
            write_line(id, line, out)
        }
    })
}

/// All that is known of each; returns what [`list`] does.
pub(super) fn show(
    state: &Path,
    selection: &Selection,
    values: bool,
    out: &mut impl Write,
) -> io::Result<bool> {
    tell_each(state, selection, out, |is_first, id, line, out| {
        if !is_first {
            writeln!(out)?;
        }
        write_whole(id, line, values, out)
    })
}

/// Tells each, and at the end, on stderr, how many there were.
fn tell_each<W: Write>(
    state: &Path,
    selection: &Selection,
    out: &mut W,
    tell: impl Fn(bool, u64, &RejectedLine, &mut W) -> io::Result<()>,
) -> io::Result<bool> {
    let (mut count, mut ids) = (0_u64, BTreeSet::new());
    let unrecognized = read::each(state, selection, &mut |id, line| {
        let is_first = count == 0;
        count += 1;
        ids.extend(selection.scope.asked_for(id));
        tell(is_first, id, line, out)
    })?;
    out.flush()?;
    tell_end(count, unrecognized);
    Ok(selection.scope.has_all_ids(ids.len() as u64))
}

fn tell_end(count: u64, unrecognized: u64) {
    match count {
        0 => output::complain("no rejected lines"),
        1 => output::complain("1 line"),
        count => output::complain(format_args!("{count} lines")),
    }
    let further = match unrecognized {
        0 => return,
        1 => "1 further line of rejected.jsonl is".to_owned(),
        count => format!("{count} further lines of rejected.jsonl are"),
    };
    output::complain(format_args!(
        "hustdbsync: {further} not this server's; they count, and only `rejected drop --all` takes \
         them out"
    ));
}

fn write_line(id: u64, line: &RejectedLine, out: &mut impl Write) -> io::Result<()> {
    let detail: String = plain(&line.detail).chars().take(DETAIL_CHARS_MAX).collect();
    writeln!(
        out,
        "{}  {}  {}  {}:{}  {}  {detail}",
        show_id(id),
        local(line.unix),
        plain(&line.backend),
        plain(&line.file),
        line.line,
        plain(&line.reason),
    )
}

fn write_json(id: u64, line: &RejectedLine, out: &mut impl Write) -> io::Result<()> {
    let mut object = Vec::new();
    line.encode(&mut object);
    // It begins with a brace, which the id comes behind.
    write!(out, "{{\"id\":\"{}\",", show_id(id))?;
    out.write_all(&object[1..])
}

fn write_whole(id: u64, line: &RejectedLine, values: bool, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "id       {}", show_id(id))?;
    writeln!(out, "time     {}", local(line.unix))?;
    writeln!(out, "backend  {}", plain(&line.backend))?;
    write!(out, "log      {}, line {}", plain(&line.file), line.line)?;
    match line.byte {
        Some(byte) => writeln!(out, ", byte {byte}")?,
        None => writeln!(out)?,
    }
    writeln!(out, "reason   {}", plain(&line.reason))?;
    writeln!(out, "detail   {}", plain(&line.detail))?;
    let mut raw = line.raw.clone();
    let decoded = decode_in_place(&mut raw).map(|range| raw[range].to_vec());
    match decoded.as_deref().map(Record::parse) {
        Ok(Ok(record)) => write_record(&record, values, out)?,
        // The detail says why already, where that is why it was rejected.
        Ok(Err(fault)) | Err(&fault) if line.detail == fault.to_string() => {
            writeln!(out, "record   none")?;
        }
        Ok(Err(fault)) | Err(&fault) => writeln!(out, "record   none: {fault}")?,
    }
    if values {
        return writeln!(out, "raw      {}", line.raw.escape_ascii());
    }
    let bytes = line.raw.len();
    writeln!(out, "raw      {bytes} bytes (--values shows them)")
}

fn write_record(record: &Record<'_>, values: bool, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "record   {}, version {}, key {}",
        record.method.name(),
        record.version,
        record.key.escape_ascii()
    )?;
    if !record.table.is_empty() {
        write!(out, ", table {}", record.table.escape_ascii())?;
    }
    if record.score != 0 || record.opt != 0 {
        write!(out, ", score {}, opt {}", record.score, record.opt)?;
    }
    if record.expires_unix > 0 {
        write!(out, ", expires {}", local(u64::from(record.expires_unix)))?;
    }
    if values {
        writeln!(out, ", value {}", record.value.escape_ascii())
    } else {
        writeln!(out, ", value of {} bytes", record.value.len())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::binlog::{Method, line};
    use crate::cli::scope::Scope;

    fn entry(reason: &str, unix: u64, raw: &[u8]) -> RejectedLine {
        RejectedLine {
            unix,
            backend: "a:1".to_owned(),
            file: "2026-11-22-16-40.log".to_owned(),
            line: 12,
            byte: Some(4711),
            log: None,
            reason: reason.to_owned(),
            detail: "a \u{1b}[31mdetail".to_owned(),
            raw: raw.to_vec(),
        }
    }

    fn raw() -> Vec<u8> {
        let record = Record {
            version: 7,
            table: b"table",
            ..Record::new(Method::Hset, b"key", b"secret")
        };
        let (mut bytes, mut text) = (Vec::new(), Vec::new());
        record.encode(&mut bytes);
        line::encode(b"x ", &bytes, &mut text);
        text.pop();
        text
    }

    /// A state with two lines of one backend, one of a stranger's hand, and one that is torn.
    fn state() -> tempfile::TempDir {
        let state = tempfile::tempdir().unwrap();
        let mut content = Vec::new();
        entry("table_type", 100, &raw()).encode(&mut content);
        content.extend_from_slice(b"a note\n");
        entry("not_base64", 200, b"x *").encode(&mut content);
        content.extend_from_slice(b"{\"torn");
        fs::create_dir(state.path().join("a:1")).unwrap();
        fs::write(state.path().join("a:1/rejected.jsonl"), content).unwrap();
        fs::create_dir(state.path().join("b:1")).unwrap();
        state
    }

    fn listed(selection: &Selection, json: bool) -> String {
        let mut out = Vec::new();
        list(state().path(), selection, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_has_a_line_for_each_that_is_selected() {
        let all = listed(&Selection::default(), false);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 2, "{all}");
        assert!(
            lines[0].ends_with("  a:1  2026-11-22-16-40.log:12  table_type  a \u{fffd}[31mdetail"),
            "{all}"
        );
        let one = Selection {
            scope: Scope {
                since: Some(150),
                ..Scope::default()
            },
            ..Selection::default()
        };
        let text = listed(&one, false);
        assert_eq!(text, format!("{}\n", lines[1]));
        let none = Selection {
            scope: Scope {
                backend: Some("b:1".to_owned()),
                ..Scope::default()
            },
            ..Selection::default()
        };
        assert_eq!(listed(&none, false), "");
    }

    #[test]
    fn json_has_the_id_first_and_all_of_the_line() {
        let text = listed(&Selection::default(), true);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let id = listed(&Selection::default(), false)[..16].to_owned();
        assert_eq!(first["id"], id);
        assert_eq!(
            (&first["line"], &first["reason"]),
            (&12.into(), &"table_type".into())
        );
        let by_id = Selection {
            scope: Scope {
                ids: vec![u64::from_str_radix(&id, 16).unwrap()],
                ..Scope::default()
            },
            ..Selection::default()
        };
        assert_eq!(listed(&by_id, true).lines().count(), 1);
    }

    #[test]
    fn a_line_is_shown_with_its_record_and_its_value_on_request_only() {
        let shown = |values| {
            let mut out = Vec::new();
            show(state().path(), &Selection::default(), values, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = shown(false);
        assert!(
            text.contains("record   hset, version 7, key key, table table, value of 6 bytes\n"),
            "{text}"
        );
        assert!(
            text.contains("log      2026-11-22-16-40.log, line 12, byte 4711\n"),
            "{text}"
        );
        assert!(text.contains("record   none: "), "{text}");
        assert!(!text.contains("secret") && shown(true).contains("value secret\n"));
    }

    #[test]
    fn a_cause_is_said_once_and_the_raw_line_is_shown_with_values() {
        let fault = decode_in_place(&mut b"x *".to_vec()).unwrap_err();
        let line = RejectedLine {
            detail: fault.to_string(),
            ..entry("not_base64", 200, b"x *\x80")
        };
        let shown = |values| {
            let mut out = Vec::new();
            write_whole(7, &line, values, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = shown(false);
        assert_eq!(text.matches(&fault.to_string()).count(), 1, "{text}");
        assert!(
            text.ends_with("raw      4 bytes (--values shows them)\n"),
            "{text}"
        );
        assert!(shown(true).ends_with("raw      x *\\x80\n"));
    }

    #[test]
    fn without_state_there_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        list(
            &folder.path().join("none"),
            &Selection::default(),
            false,
            &mut out,
        )
        .unwrap();
        assert!(out.is_empty());
    }
}
