//! The body of `/sync_status`, which HA's clients parse: byte for byte as the original writes it.
//!
//! The numbers are those of the last durable checkpoint, some hundred milliseconds old: HA's
//! clients count on it that they never fall, and what a kill takes back must not have been told.
//!
//! Written by hand into a buffer that is kept, since it is asked for a thousand times a second.

use std::io::Write;

use super::snapshot::{BackendSnapshot, Snapshot};

/// The number that `backend_count` gives, as C's `strtol` has it: leading digits count, what is no
/// number or below zero is 0.
#[must_use]
pub fn backend_count(value: &[u8]) -> usize {
    let value = value.strip_prefix(b"+").unwrap_or(value);
    value
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0usize, |count, digit| {
            count
                .saturating_mul(10)
                .saturating_add(usize::from(digit - b'0'))
        })
}

/// Appends the body with the first `count` backends.
pub fn write(snapshot: &Snapshot, count: usize, body: &mut Vec<u8>) {
    let (processed, settled) = snapshot.durable_totals();
    body.extend_from_slice(b"{\n    \"total_status\": {\n");
    write_items(processed, settled, "        ", body);
    body.extend_from_slice(b"    },\n    \"status\": {");
    let shown = &snapshot.backends()[..count.min(snapshot.backends().len())];
    for (place, backend) in shown.iter().enumerate() {
        body.extend_from_slice(if place == 0 { b"\n" } else { b",\n" });
        write_backend(backend, body);
    }
    if !shown.is_empty() {
        body.extend_from_slice(b"\n    ");
    }
    body.extend_from_slice(b"}\n}");
}

fn write_backend(backend: &BackendSnapshot, body: &mut Vec<u8>) {
    body.extend_from_slice(b"        ");
    write_string(&backend.name, body);
    body.extend_from_slice(b": {\n");
    write_items(
        backend.counts.durable_processed,
        backend.counts.durable_settled,
        "            ",
        body,
    );
    body.extend_from_slice(b"        }");
}

fn write_items(processed: u64, settled: u64, indent: &str, body: &mut Vec<u8>) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        body,
        "{indent}\"processed_items\": {processed},\n{indent}\"synced_items\": {settled}\n"
    );
}

/// A JSON string. Names are `host:port`, but whatever they were, the body stays JSON.
fn write_string(text: &str, body: &mut Vec<u8>) {
    body.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => body.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let _ = write!(body, "\\u{byte:04x}");
            }
            _ => body.push(byte),
        }
    }
    body.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::counters::Counts;
    use proptest::prelude::*;

    fn snapshot(backends: &[(&str, u64, u64)]) -> Snapshot {
        let backend = |&(name, processed, settled): &(&str, u64, u64)| BackendSnapshot {
            name: name.to_owned(),
            counts: Counts {
                durable_processed: processed,
                durable_settled: settled,
                ..Counts::default()
            },
            ..BackendSnapshot::default()
        };
        Snapshot::new(0, 0, backends.iter().map(backend).collect())
    }

    #[track_caller]
    fn check(backends: &[(&str, u64, u64)], count: usize, expected: &str) {
        let mut body = Vec::new();
        write(&snapshot(backends), count, &mut body);
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn one_backend_is_told_byte_for_byte() {
        check(
            &[("127.0.0.1:9998", 12, 10)],
            1,
            r#"{
    "total_status": {
        "processed_items": 12,
        "synced_items": 10
    },
    "status": {
        "127.0.0.1:9998": {
            "processed_items": 12,
            "synced_items": 10
        }
    }
}"#,
        );
    }

    #[test]
    fn the_total_is_over_all_backends_and_the_status_over_the_first() {
        check(
            &[("b:1", u64::MAX - 5, 3), ("a:2", 5, 2), ("c:1", 0, 0)],
            2,
            r#"{
    "total_status": {
        "processed_items": 18446744073709551615,
        "synced_items": 5
    },
    "status": {
        "a:2": {
            "processed_items": 5,
            "synced_items": 2
        },
        "b:1": {
            "processed_items": 18446744073709551610,
            "synced_items": 3
        }
    }
}"#,
        );
    }

    #[test]
    fn without_backends_the_status_is_an_empty_object() {
        let empty = "{\n    \"total_status\": {\n        \"processed_items\": 1,\n        \
                     \"synced_items\": 1\n    },\n    \"status\": {}\n}";
        check(&[("a:1", 1, 1)], 0, empty);
        check(&[], 7, &empty.replace(": 1", ": 0"));
    }

    #[test]
    fn counts_are_read_as_strtol_reads_them() {
        for (value, expected) in [
            ("0", 0),
            ("1", 1),
            ("12", 12),
            ("+3", 3),
            ("007", 7),
            ("1abc", 1),
            ("2 ", 2),
            ("-1", 0),
            ("abc", 0),
            ("+", 0),
            ("+-1", 0),
            ("0x10", 0),
            ("1.9", 1),
            ("99999999999999999999999", usize::MAX),
        ] {
            assert_eq!(backend_count(value.as_bytes()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn the_body_is_what_a_json_library_makes_of_it(
            backends in proptest::collection::btree_map(
                any::<String>(),
                (0..u64::MAX / 8, 0..u64::MAX / 8),
                0..6,
            ),
            count in 0usize..8,
        ) {
            let listed: Vec<_> = backends
                .iter()
                .map(|(name, &(processed, settled))| (name.as_str(), processed, settled))
                .collect();
            let items = |processed: u64, settled: u64| {
                serde_json::json!({"processed_items": processed, "synced_items": settled})
            };
            let total = items(
                listed.iter().map(|b| b.1).sum(),
                listed.iter().map(|b| b.2).sum(),
            );
            let status: serde_json::Map<_, _> = listed
                .iter()
                .take(count)
                .map(|&(name, processed, settled)| (name.to_owned(), items(processed, settled)))
                .collect();
            let naive = serde_json::json!({"total_status": total, "status": status});

            let mut body = Vec::new();
            write(&snapshot(&listed), count, &mut body);
            prop_assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
                naive.clone()
            );

            // Names without control characters come out in the same bytes, too.
            if !listed
                .iter()
                .any(|(name, ..)| name.contains(|c: char| c.is_control()))
            {
                let mut bytes = Vec::new();
                let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
                serde::Serialize::serialize(
                    &naive,
                    &mut serde_json::Serializer::with_formatter(&mut bytes, formatter),
                )
                .unwrap();
                prop_assert_eq!(
                    String::from_utf8(body).unwrap(),
                    String::from_utf8(bytes).unwrap()
                );
            }
        }
    }
}
