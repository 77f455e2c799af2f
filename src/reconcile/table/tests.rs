//! Tables of every shape, and the slots that a real HA chose.

use proptest::prelude::*;

use super::*;
use crate::reconcile::key::Kind;

fn parse(text: &str) -> Result<Table, TableFault> {
    Table::parse(text.as_bytes())
}

/// A table of plain rows.
fn table(rows: &[(u16, u16, &[&str])]) -> Table {
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|(start, end, masters)| {
            serde_json::json!({"item": {"key": [start, end], "val": masters}})
        })
        .collect();
    parse(&serde_json::json!({ "table": rows }).to_string()).unwrap()
}

/// What is said of a table that is none.
fn check_fault(text: &str, expected: &str) {
    let said = parse(text).map(|_| "nothing".to_owned());
    assert_eq!(
        said.unwrap_or_else(|fault| fault.to_string()),
        expected,
        "{text}"
    );
}

fn peers<'a>(table: &'a Table, backend: &'a str, slot: u16) -> Result<Vec<&'a str>, NoPeer> {
    Ok(table.peers(backend, slot)?.collect())
}

const A: &str = "10.0.0.7:8085";
const B: &str = "db-2.example:8085";
const C: &str = "10.0.0.9:1";

/// Writes that HA 1.9 made by a table with a pair of masters of its own for each slot: method,
/// table and key as in the record, and the slot of the pair that got the write.
#[rustfmt::skip]
const CHOSEN: &[(Method, &[u8], &[u8], u16)] = &[
    (Method::Put, b"", b"abc", 98),
    (Method::Put, b"", b"a%20b", 896),
    (Method::Put, b"", b"a+b", 440),
    (Method::Put, b"", b"%41", 354),
    (Method::Put, b"", b"%c3%a9x", 464),
    (Method::Put, b"", b"with.dots_and:colons", 484),
    (Method::Put, b"", b"~tilde", 410),
    (Method::Put, b"", b"x?y", 658),
    (Method::Put, b"", b"x;y", 534),
    (Method::Put, b"", b"%26%3d", 941),
    (Method::Put, b"", b"0", 48),
    (Method::Put, b"", b"-", 45),
    (Method::Put, b"", b"%00z", 53),
    (Method::Del, b"", b"abc", 98),
    (Method::Hset, b"tb1", b"abc", 98),
    (Method::Hdel, b"tb2", b"abc", 98),
    (Method::Del, b"", b"a%20b", 896),
    (Method::Hset, b"tb1", b"a%20b", 896),
    (Method::Hdel, b"tb2", b"a%20b", 896),
    (Method::Del, b"", b"a+b", 440),
    (Method::Hset, b"tb1", b"a+b", 440),
    (Method::Hdel, b"tb2", b"a+b", 440),
    (Method::Del, b"", b"%41", 354),
    (Method::Hset, b"tb1", b"%41", 354),
    (Method::Hdel, b"tb2", b"%41", 354),
    (Method::Del, b"", b"%c3%a9x", 464),
    (Method::Hset, b"tb1", b"%c3%a9x", 464),
    (Method::Hdel, b"tb2", b"%c3%a9x", 464),
    (Method::Del, b"", b"with.dots_and:colons", 484),
    (Method::Hset, b"tb1", b"with.dots_and:colons", 484),
    (Method::Hdel, b"tb2", b"with.dots_and:colons", 484),
    (Method::Del, b"", b"~tilde", 410),
    (Method::Hset, b"tb1", b"~tilde", 410),
    (Method::Hdel, b"tb2", b"~tilde", 410),
    (Method::Sadd, b"s1", b"abc", 98),
    (Method::Srem, b"s1", b"abc", 98),
    (Method::Zadd, b"s1", b"abc", 542),
    (Method::Zrem, b"s1", b"abc", 542),
    (Method::Sadd, b"other_set", b"abc", 98),
    (Method::Srem, b"other_set", b"abc", 98),
    (Method::Zadd, b"other_set", b"abc", 691),
    (Method::Zrem, b"other_set", b"abc", 691),
    (Method::Sadd, b"s1", b"a%20b", 896),
    (Method::Srem, b"s1", b"a%20b", 896),
    (Method::Zadd, b"s1", b"a%20b", 542),
    (Method::Zrem, b"s1", b"a%20b", 542),
    (Method::Sadd, b"other_set", b"a%20b", 896),
    (Method::Srem, b"other_set", b"a%20b", 896),
    (Method::Zadd, b"other_set", b"a%20b", 691),
    (Method::Zrem, b"other_set", b"a%20b", 691),
    (Method::Sadd, b"s1", b"a b", 99),
    (Method::Srem, b"s1", b"a b", 99),
    (Method::Zadd, b"s1", b"a b", 542),
    (Method::Zrem, b"s1", b"a b", 542),
    (Method::Sadd, b"other_set", b"a b", 99),
    (Method::Srem, b"other_set", b"a b", 99),
    (Method::Zadd, b"other_set", b"a b", 691),
    (Method::Zrem, b"other_set", b"a b", 691),
    (Method::Sadd, b"s1", b"m", 109),
    (Method::Srem, b"s1", b"m", 109),
    (Method::Zadd, b"s1", b"m", 542),
    (Method::Zrem, b"s1", b"m", 542),
    (Method::Sadd, b"other_set", b"m", 109),
    (Method::Srem, b"other_set", b"m", 109),
    (Method::Zadd, b"other_set", b"m", 691),
    (Method::Zrem, b"other_set", b"m", 691),
    (Method::Sadd, b"s1", b"\r\n", 413),
    (Method::Srem, b"s1", b"\r\n", 413),
    (Method::Zadd, b"s1", b"\r\n", 542),
    (Method::Zrem, b"s1", b"\r\n", 542),
    (Method::Sadd, b"other_set", b"\r\n", 413),
    (Method::Srem, b"other_set", b"\r\n", 413),
    (Method::Zadd, b"other_set", b"\r\n", 691),
    (Method::Zrem, b"other_set", b"\r\n", 691),
    (Method::Sadd, b"s1", b"\xff\xfe", 991),
    (Method::Srem, b"s1", b"\xff\xfe", 991),
    (Method::Zadd, b"s1", b"\xff\xfe", 542),
    (Method::Zrem, b"s1", b"\xff\xfe", 542),
    (Method::Sadd, b"other_set", b"\xff\xfe", 991),
    (Method::Srem, b"other_set", b"\xff\xfe", 991),
    (Method::Zadd, b"other_set", b"\xff\xfe", 691),
    (Method::Zrem, b"other_set", b"\xff\xfe", 691),
    (Method::Zadd, b"z%31", b"abc", 649),
    (Method::Zrem, b"z%31", b"abc", 649),
    (Method::Zadd, b"Z.a:b", b"abc", 1013),
    (Method::Zrem, b"Z.a:b", b"abc", 1013),
    (Method::Put, b"", b"jzde8gxd6ncf10epf91d_", 776),
    (Method::Put, b"", b"od_zdoc9", 657),
    (Method::Put, b"", b"s0j8h_t9l", 357),
    (Method::Put, b"", b"_mxg9e_", 534),
    (Method::Put, b"", b"n581", 704),
    (Method::Put, b"", b"33xtplpf_t75v2seh60kv", 830),
    (Method::Put, b"", b"50ce9_uvw5", 962),
    (Method::Put, b"", b"3efr4edt_2sywb3wkh5dnsipzz5fk2z9ri19r0", 595),
    (Method::Put, b"", b"yojfljooa5lqsaj08x_ui6d", 516),
    (Method::Put, b"", b"9zzzzg4zdmen2khvdga_j8gxbenyjq", 514),
    (Method::Put, b"", b"x4hh5344tfjgvq4k7bn7xj8", 23),
    (Method::Put, b"", b"7t", 797),
    (Method::Put, b"", b"q7xkwo", 1009),
    (Method::Put, b"", b"86vompzom75wbbr4qmw2wxfogo4mvn4a4wf", 639),
    (Method::Put, b"", b"ym4l1vfz", 197),
];

#[test]
fn slots_are_those_that_a_real_ha_chose() {
    for (method, table, key, expected) in CHOSEN {
        let found = slot(hashed_octets(*method, table, key));
        assert_eq!(
            found,
            *expected,
            "{method:?} {:?}",
            String::from_utf8_lossy(key)
        );
    }
    // A member with a NUL got the slot of what is before it; so does the record's key.
    assert_eq!(slot(b"m\0n"), slot(b"m"));
    assert_eq!(slot(&[b'k'; 300]), 576);
}

#[test]
fn masters_are_those_of_the_slots_row_in_its_order() {
    let table = table(&[(0, 512, &[A, B]), (512, 1024, &[B, A])]);
    let masters = |slot| -> Vec<&str> {
        let masters = table.masters(slot).unwrap();
        masters.iter().map(|master| &**master).collect()
    };
    assert_eq!(masters(0), [A, B]);
    assert_eq!(masters(511), [A, B]);
    assert_eq!(masters(512), [B, A]);
    assert_eq!(masters(1023), [B, A]);
    assert_eq!(table.masters(1024), None);
    for slot in [0, 511, 512, 1023] {
        assert_eq!(peers(&table, A, slot).unwrap(), [B], "slot {slot}");
        assert_eq!(peers(&table, B, slot).unwrap(), [A], "slot {slot}");
    }
    assert!(table.names(A) && table.names(B) && !table.names(C));
}

#[test]
fn every_range_is_taken_and_every_other_slot_has_no_row() {
    for (start, end) in [(0, 1), (1023, 1024), (5, 9), (0, 1024)] {
        let table = table(&[(start, end, &[A, B])]);
        for slot in 0..1024 {
            let is_in = (start..end).contains(&slot);
            assert_eq!(
                table.masters(slot).is_some(),
                is_in,
                "{slot} in {start}..{end}"
            );
        }
    }
    let rows: Vec<(u16, u16, &[&str])> = (0..1024)
        .map(|slot| (slot, slot + 1, &[A, B][..]))
        .collect();
    let whole = table(&rows);
    assert!((0..1024).all(|slot| whole.masters(slot).is_some()));
    let out_of_order = table(&[(512, 1024, &[A, C]), (0, 512, &[A, B])]);
    assert_eq!(peers(&out_of_order, A, 0).unwrap(), [B]);
}

#[test]
fn a_row_of_more_than_two_has_more_than_one_peer_and_a_master_counts_once() {
    let table = table(&[(0, 1024, &[A, B, C, B])]);
    assert_eq!(peers(&table, A, 3).unwrap(), [B, C]);
    assert_eq!(peers(&table, B, 3).unwrap(), [A, C]);
}

#[test]
fn spellings_have_one_peer_if_they_have_the_same_masters_in_whatever_order() {
    let table = table(&[(0, 10, &[A, B]), (10, 20, &[B, A]), (20, 30, &[A, C])]);
    let key = KeyId {
        kind: Kind::Key,
        table: Box::default(),
        // One octet is its own slot.
        key: Box::from(&[5][..]),
        body: None,
    };
    let peer = |slots: &[u16]| table.peer_of_all(A, &key, &slots.iter().copied().collect());
    assert_eq!(peer(&[]), Ok(B));
    assert_eq!(peer(&[5, 15]), Ok(B));
    let apart = |slot| Err(NoPeer::SpellingsApart { slot });
    assert_eq!(peer(&[15, 25]), apart(25));
    assert_eq!(peer(&[500]), apart(500));
}

#[test]
fn a_key_without_a_peer_says_why() {
    let table = table(&[
        (0, 10, &[A, B]),
        (10, 20, &[B, C]),
        (20, 30, &[A, A]),
        (30, 40, &[A]),
    ]);
    let check = |backend: &str, slot, expected: NoPeer, code: &str, sentence: &str| {
        let found = peers(&table, backend, slot).unwrap_err();
        assert_eq!(found, expected);
        assert_eq!((found.code(), &*found.to_string()), (code, sentence));
    };
    check(
        A,
        500,
        NoPeer::NoRow { slot: 500 },
        "slot_without_row",
        "HA's table has no row for slot 500",
    );
    check(
        "10.0.0.7:8086",
        5,
        NoPeer::NotInTable,
        "not_in_table",
        "HA's table does not name this backend",
    );
    check(
        A,
        15,
        NoPeer::OtherMasters { slot: 15 },
        "other_masters",
        "HA's table gives slot 15 to other masters",
    );
    for slot in [25, 35] {
        check(
            A,
            slot,
            NoPeer::Alone { slot },
            "no_other_master",
            &format!("HA's table names only this backend for slot {slot}"),
        );
    }
}

#[test]
fn while_masters_are_added_ha_writes_by_the_halves() {
    let table = parse(&format!(
        r#"{{"table": [
            {{"item": {{"key": [0, 512], "val": ["{A}", "{B}"]}},
              "increase": {{"low": {{"key": [0, 256], "val": ["{A}", "{C}"]}},
                            "high": {{"key": [256, 512], "val": ["{C}", "{B}"]}}}}}},
            {{"item": {{"key": [512, 1024], "val": ["{B}", "{A}"]}},
              "increase": {{"low": {{"key": [512, 600], "val": ["{C}", "{C}"]}}}}}}]}}"#
    ))
    .unwrap();
    assert_eq!(peers(&table, A, 100).unwrap(), [C]);
    assert_eq!(peers(&table, C, 300).unwrap(), [B]);
    // A half alone is passed over, as HA does.
    assert_eq!(peers(&table, A, 550).unwrap(), [B]);
}

#[test]
fn while_masters_are_removed_ha_writes_to_the_one_that_comes() {
    let table = parse(&format!(
        r#"{{"table": [
            {{"item": {{"key": [0, 512], "val": ["{A}", "{B}"]}},
              "decrease": {{"remove": "{A}", "replace_by": "{C}"}}}},
            {{"item": {{"key": [512, 1024], "val": ["{A}", "{B}"]}}}}]}}"#
    ))
    .unwrap();
    assert_eq!(peers(&table, B, 100).unwrap(), [C]);
    assert_eq!(
        peers(&table, A, 100),
        Err(NoPeer::OtherMasters { slot: 100 })
    );
    assert_eq!(peers(&table, A, 600).unwrap(), [B]);
}

#[test]
fn what_is_no_table_is_a_fault_that_names_the_row() {
    let first = format!(r#"{{"item": {{"key": [0, 8], "val": ["{A}", "{B}"]}}}}"#);
    let row = |item: &str| format!(r#"{{"table": [{first}, {{"item": {item}}}]}}"#);
    let range = |key: &str| row(&format!(r#"{{"key": {key}, "val": ["{A}", "{B}"]}}"#));
    for (key, why) in [
        (
            "[8, 8]",
            "\"key\" is [8, 8], which is no range of slots from 0 to 1024",
        ),
        (
            "[9, 8]",
            "\"key\" is [9, 8], which is no range of slots from 0 to 1024",
        ),
        (
            "[8, 1025]",
            "\"key\" is [8, 1025], which is no range of slots from 0 to 1024",
        ),
        (
            "[-1, 8]",
            "\"key\" is [-1, 8], which is no range of slots from 0 to 1024",
        ),
        (
            "[8]",
            "\"key\" has 1 numbers; it takes two, the first slot and the one behind the last",
        ),
        (
            "[8, 9, 10]",
            "\"key\" has 3 numbers; it takes two, the first slot and the one behind the last",
        ),
        ("[7, 9]", "it has slot 7, which row 1 has too"),
        ("[0, 1024]", "it has slot 0, which row 1 has too"),
    ] {
        check_fault(&range(key), &format!("row 2: {why}"));
    }
    let masters = |val: &str| row(&format!(r#"{{"key": [8, 9], "val": {val}}}"#));
    check_fault(
        &masters("[]"),
        "row 2: \"val\" names 0 masters; it takes 1 to 16, and HA takes 2",
    );
    let many: Vec<String> = (1..=17).map(|port| format!("h:{port}")).collect();
    check_fault(
        &masters(&format!("{many:?}")),
        "row 2: \"val\" names 17 masters; it takes 1 to 16, and HA takes 2",
    );
    for name in [
        "", "h", "h:", ":1", "h:0", "h:65536", "h:+1", "h:x", "a b:1", "a/b:1", "ä:1",
    ] {
        check_fault(
            &masters(&format!("[{name:?}, \"h:1\"]")),
            &format!("row 2: {name:?} is no master: it takes host:port"),
        );
    }
    let long = format!("{}:1", "h".repeat(TABLE_MASTER_BYTES_MAX));
    assert!(parse(&masters(&format!("[{long:?}]"))).is_err());
}

#[test]
fn what_is_no_json_of_a_table_says_where() {
    let json = |text: &str, why: &str| check_fault(text, &format!("is not as HA reads it: {why}"));
    json("", "EOF while parsing a value at line 1 column 0");
    json("{}", "missing field `table` at line 1 column 2");
    json(
        r#"{"table": {}}"#,
        "invalid type: map, expected a sequence at line 1 column 10",
    );
    json(
        r#"{"table": [{}]}"#,
        "missing field `item` at line 1 column 13",
    );
    json(
        r#"{"table": [{"item": {"key": ["0", 1], "val": []}}]}"#,
        "invalid type: string \"0\", expected i64 at line 1 column 32",
    );
    json(
        r#"{"table": []} x"#,
        "trailing characters at line 1 column 15",
    );
    check_fault(r#"{"table": []}"#, "has no row");
    check_fault(
        &" ".repeat(TABLE_BYTES_MAX + 1),
        "has more than 1048576 bytes, which no table of HA's has",
    );
    let both = format!(
        r#"{{"table": [{{"item": {{"key": [0, 1], "val": ["{A}"]}}, "increase": {{}}}},
                       {{"item": {{"key": [1, 2], "val": ["{A}"]}},
                         "decrease": {{"remove": "{A}", "replace_by": "{B}"}}}}]}}"#
    );
    check_fault(
        &both,
        "has rows with \"increase\" and rows with \"decrease\", and HA takes one of them only",
    );
    let removes = format!(
        r#"{{"table": [{{"item": {{"key": [0, 1], "val": ["{A}"]}},
                         "decrease": {{"remove": "{B}", "replace_by": "{C}"}}}}]}}"#
    );
    check_fault(
        &removes,
        &format!("row 1: \"decrease\" removes {B:?}, which is none of its masters"),
    );
}

/// Rows of any sort, most of them nearly right.
fn any_rows() -> impl Strategy<Value = serde_json::Value> {
    let slot = prop_oneof![0i64..=1024, Just(-1), Just(1025), any::<i64>()];
    let name = prop_oneof![
        Just(A.to_owned()),
        Just(B.to_owned()),
        Just(C.to_owned()),
        ".{0,8}"
    ];
    let pair = (
        slot.clone(),
        slot,
        prop::collection::vec(name.clone(), 0..4),
    )
        .prop_map(|(start, end, val)| serde_json::json!({"key": [start, end], "val": val}));
    let both = prop::option::of((pair.clone(), pair.clone()));
    let element = (pair, both, prop::option::of((name.clone(), name)));
    let element = element.prop_map(|(item, increase, decrease)| {
        let increase = increase.map(|(low, high)| serde_json::json!({"low": low, "high": high}));
        let decrease =
            decrease.map(|(remove, by)| serde_json::json!({"remove": remove, "replace_by": by}));
        serde_json::json!({"item": item, "increase": increase, "decrease": decrease})
    });
    prop::collection::vec(element, 0..4).prop_map(|rows| serde_json::json!({ "table": rows }))
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = Table::parse(&bytes);
    }

    #[test]
    fn no_rows_make_it_panic_and_peers_are_never_the_backend(
        rows in any_rows(),
        key: Vec<u8>,
    ) {
        if let Ok(table) = parse(&rows.to_string()) {
            for backend in [A, B, C] {
                match table.peers(backend, slot(&key)) {
                    Ok(peers) => {
                        let peers: Vec<&str> = peers.collect();
                        let row = table.masters(slot(&key)).unwrap();
                        prop_assert_eq!(peers.len() + 1, row.len());
                        prop_assert!(!peers.is_empty() && !peers.contains(&backend));
                    }
                    Err(why) => prop_assert!(!why.to_string().is_empty()),
                }
            }
        }
    }

    /// A plain reference: the whole hash, as nginx has it.
    #[test]
    fn the_hash_is_nginxs(key in prop::collection::vec(1u8.., 0..64)) {
        let mut hash = 0u128;
        for octet in &key {
            hash = (hash * 31 + u128::from(*octet)) % (1 << 64);
        }
        prop_assert_eq!(u128::from(slot(&key)), hash % 1024);
    }
}
