//! Keys and tables as a request's arguments: octet for octet, but for those that cannot stand in a
//! request target.

/// Appends a table's name: octets that cannot stand in a request target are percent-encoded, all
/// others go as they are. hustdb never decodes it, so one that has such octets stays the bad name
/// that it was.
pub(super) fn push_table(name: &[u8], head: &mut Vec<u8>) {
    if all_can_stand(name) {
        head.extend_from_slice(name);
    } else {
        name.iter().for_each(|octet| push_octet(*octet, head));
    }
}

/// Appends a key: as a table's name, but hustdb decodes it.
pub(super) fn push_key(key: &[u8], head: &mut Vec<u8>) {
    if all_can_stand(key) {
        head.extend_from_slice(key);
    } else {
        push_escaped_key(key, head);
    }
}

/// Looks at every octet, whatever the first ones say: so many at once.
fn all_can_stand(text: &[u8]) -> bool {
    text.iter().fold(true, |all, octet| all & can_stand(*octet))
}

/// Whether an octet can stand in a request target, within an argument.
fn can_stand(octet: u8) -> bool {
    !matches!(octet, 0x00..=0x20 | 0x7f..=0xff | b'#' | b'&')
}

/// As [`push_key`]. An octet that is a part of a malformed escape cannot be escaped itself: `%` and
/// `%C3` behind one another are read as `%C3` in plain text. What hustdb's decoder makes of the
/// whole is written instead (see [`crate::binlog::key`]).
fn push_escaped_key(mut key: &[u8], head: &mut Vec<u8>) {
    while let [octet, rest @ ..] = key {
        key = match (octet, rest) {
            // The `%` is dropped.
            (b'%', [plain, rest @ ..]) if !plain.is_ascii_hexdigit() => {
                if can_stand(*plain) {
                    head.push(b'%');
                }
                push_octet(*plain, head);
                rest
            }
            // All three are dropped where the last is no digit, as all that cannot stand are.
            (b'%', [_, last, after @ ..]) => {
                if can_stand(*last) {
                    head.extend_from_slice(&key[..3]);
                }
                after
            }
            _ => {
                push_octet(*octet, head);
                rest
            }
        };
    }
}

fn push_octet(octet: u8, head: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if can_stand(octet) {
        head.push(octet);
    } else {
        head.extend_from_slice(&[
            b'%',
            HEX[usize::from(octet >> 4)],
            HEX[usize::from(octet & 15)],
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(push: fn(&[u8], &mut Vec<u8>), spelt: &[u8], sent: &str) {
        let mut head = Vec::new();
        push(spelt, &mut head);
        assert_eq!(
            String::from_utf8_lossy(&head),
            sent,
            "{}",
            spelt.escape_ascii()
        );
    }

    #[test]
    fn only_what_no_target_can_hold_is_escaped() {
        for push in [push_key, push_table] {
            check(push, b"", "");
            check(push, b"a%20b%25+=/:;~*'()?", "a%20b%25+=/:;~*'()?");
            check(push, b"a b#c&d\x7f\xc3\xa4\n", "a%20b%23c%26d%7F%C3%A4%0A");
        }
    }

    /// Found by fuzzing against the fake HustDB's decoder (fuzz/fuzz_targets/composed.rs).
    #[test]
    fn an_octet_within_a_malformed_escape_of_a_key_means_what_it_meant() {
        check(push_key, b"a%\xc3\xa4", "a%C3%A4");
        check(push_key, b"a%4\xc3b", "ab");
        check(push_key, b"a%%\xc3", "a%%%C3");
        check(push_key, b"a%4%\xc3", "a%4%%C3");
        check(push_key, b"a%z\xc3%41%", "a%z%C3%41%");
        check(push_key, b" %4", "%20%4");
        check(push_key, b"\xc3%", "%C3%");
    }

    /// Found by fuzzing against the fake HustDB, which decodes no table: an octet dropped from a
    /// bad name would make it a good one.
    #[test]
    fn a_tables_name_loses_no_octet() {
        check(push_table, b"t%2&", "t%2%26");
        check(push_table, b"%\xc3t", "%%C3t");
    }
}
