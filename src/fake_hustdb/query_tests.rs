//! Decoding, arguments and refusals, one at a time.

use super::*;

#[track_caller]
fn check_key(raw: &str, expected: &str) {
    let mut scratch = Vec::new();
    assert_eq!(
        String::from_utf8_lossy(decode(raw.as_bytes(), &mut scratch)),
        expected,
        "the decoding of {raw:?}"
    );
}

#[test]
fn a_key_is_decoded_once() {
    check_key("plain", "plain");
    check_key("with%20space", "with space");
    check_key("pct%2525", "pct%25");
    check_key("%41%6a%6A", "Ajj");
    check_key("plus+sign", "plus+sign");
}

#[test]
fn a_question_mark_ends_a_key() {
    check_key("q%3Fmark", "q?");
    check_key("q%3fmark", "q?");
    check_key("q?mark", "q?");
}

#[test]
fn a_malformed_escape_loses_what_was_read_of_it() {
    check_key("a%zzb", "azzb");
    check_key("a%4zb", "ab");
    check_key("a%", "a");
    check_key("a%4", "a");
    check_key("a%%41", "a%41");
}

#[test]
fn arguments_are_found_in_any_order_and_the_last_counts() {
    let found = Arguments::of(b"ver=3&&key=a&is_dup=1&key=b&ttl=&tb=t&score=-5&opt=1x#&key=c");
    assert_eq!(
        (
            found.key,
            found.tb,
            found.ver,
            found.ttl,
            found.is_dup,
            found.score,
            found.opt
        ),
        (&b"b"[..], &b"t"[..], 3, 0, true, Some(-5), 1)
    );
}

/// Each as a running hustdb 1.9 took it for a `ver`.
#[test]
fn an_unsigned_number_is_read_as_by_a_stream_of_cpp() {
    for (text, expected) in [
        ("7", 7),
        ("+5", 5),
        ("010", 10),
        ("0x10", 0),
        ("1e3", 1),
        ("5x", 5),
        ("\t5", 5),
        ("\x0b5", 5),
        ("5\t", 5),
        ("", 0),
        ("+", 0),
        ("x", 0),
        ("4294967295", u32::MAX),
        ("4294967296", 0),
        ("18446744073709551611", 0),
        ("99999999999999999999", 0),
        ("-1", u32::MAX),
        ("-2", u32::MAX - 1),
        ("-4294967295", 1),
        ("-4294967296", 0),
    ] {
        assert_eq!(unsigned(text.as_bytes()), expected, "{text:?}");
    }
}

/// Each as a running hustdb 1.9 took it for a `score`.
#[test]
fn a_score_out_of_range_is_0() {
    for (text, expected) in [
        ("-9223372036854775808", i64::MIN),
        ("9223372036854775807", i64::MAX),
        ("9223372036854775808", 0),
        ("-9223372036854775809", 0),
        ("18446744073709551615", 0),
        ("99999999999999999999999", 0),
        ("+7", 7),
        ("\t7", 7),
        ("-+7", 0),
        ("7-", 7),
        (".", 0),
    ] {
        assert_eq!(signed(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn an_opt_beyond_32_bits_sets() {
    for (text, expected) in [
        ("2147483647", 1),
        ("2147483648", 0),
        ("-2147483649", 0),
        ("99999999999", 0),
        ("+1", 1),
        ("-7", -1),
    ] {
        let query = format!("opt={text}");
        assert_eq!(Arguments::of(query.as_bytes()).opt, expected, "{text}");
    }
}

#[test]
fn a_nul_as_it_stands_ends_an_argument() {
    let found = Arguments::of(b"key=a\0b&tb=t\0&ver\0x=3&ttl=\x005");
    assert_eq!(
        (found.key, found.tb, found.ver, found.ttl),
        (&b"a"[..], &b"t"[..], 3, 0)
    );
    check_key("a%00b", "a\0b");
}

#[test]
fn a_negative_version_is_one_out_of_range() {
    let target = "/hustdb/put?key=a&is_dup=true&ver=-1";
    let refusal = Answer::write(400, u32::MAX, false);
    check_refusal(Method::Post, target, "x", &refusal);
}

#[track_caller]
fn check_refusal(method: Method, target: &str, body: &str, expected: &Answer) {
    let request = Request::new(method, target.as_bytes(), body.as_bytes());
    let verb = Verb::of_path(request.path).expect("the path of a verb");
    let mut scratch = Vec::new();
    let answer = Call::parse(verb, &request, &mut scratch)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(&answer, expected, "the answer to {target}");
}

#[test]
fn a_method_that_the_verb_does_not_take_is_405() {
    check_refusal(Method::Post, "/hustdb/del?key=a", "x", &Answer::bare(405));
    check_refusal(
        Method::Post,
        "/hustdb/hdel?key=a&tb=t",
        "x",
        &Answer::bare(405),
    );
    check_refusal(Method::Other, "/hustdb/put?key=a", "x", &Answer::bare(405));
}

#[test]
fn a_missing_parameter_or_value_is_404() {
    check_refusal(Method::Post, "/hustdb/put?ver=1", "x", &Answer::bare(404));
    check_refusal(Method::Post, "/hustdb/put?key=a", "", &Answer::bare(404));
    check_refusal(
        Method::Get,
        "/hustdb/hset?key=a&val=b",
        "",
        &Answer::bare(404),
    );
    check_refusal(
        Method::Get,
        "/hustdb/zadd?key=a&tb=t",
        "",
        &Answer::bare(404),
    );
    check_refusal(Method::Get, "/hustdb/zrem?tb=t", "", &Answer::bare(404));
    check_refusal(
        Method::Post,
        "/hustdb/zrem?tb=t&key=a",
        "",
        &Answer::bare(404),
    );
}

#[test]
fn a_bad_table_name_or_a_version_beyond_32_bits_is_400_with_the_callers_version() {
    check_refusal(
        Method::Post,
        "/hustdb/hset?key=a&tb=t-1&ver=7&is_dup=true",
        "x",
        &Answer::write(400, 7, false),
    );
    let long = "t".repeat(65);
    check_refusal(
        Method::Post,
        &format!("/hustdb/sadd?tb={long}&ver=7"),
        "x",
        &Answer::write(400, 7, false),
    );
    check_refusal(
        Method::Get,
        "/hustdb/del?key=a&ver=4294967295",
        "",
        &Answer::write(400, u32::MAX, false),
    );
}

#[test]
fn a_member_is_decoded_for_sorted_sets_unless_it_was_posted_and_never_for_sets() {
    for (method, target, body, key) in [
        (Method::Get, "/hustdb/zadd?tb=t&score=1", "a%41", "aA"),
        (Method::Post, "/hustdb/zadd?tb=t&score=1", "a%41", "a%41"),
        (Method::Get, "/hustdb/zadd?tb=t&score=1&key=a%41", "", "aA"),
        (Method::Get, "/hustdb/zscore?tb=t", "a%41", "aA"),
        (Method::Post, "/hustdb/sadd?tb=t", "a%41", "a%41"),
        (Method::Get, "/hustdb/srem?tb=t", "a%41", "a%41"),
        (Method::Get, "/hustdb/sismember?tb=t&key=a%41", "", "a%41"),
    ] {
        let request = Request::new(method, target.as_bytes(), body.as_bytes());
        let verb = Verb::of_path(request.path).expect("the path of a verb");
        let mut scratch = Vec::new();
        let call = Call::parse(verb, &request, &mut scratch).expect("a whole call");
        assert_eq!(
            String::from_utf8_lossy(call.key),
            key,
            "{target} with {body:?}"
        );
    }
}
