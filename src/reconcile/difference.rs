//! The lines of `differences.jsonl`: one JSON object for each key on which the masters differed and
//! that was not mended, and one for each of them that has been settled since.
//!
//! ```json
//! {"id":"8a1f…","time":"2026-11-26T12:30:00Z","unix":1795696200,"backend":"10.0.0.7:8085",
//!  "peer":"10.0.0.8:8085","kind":"sorted_set","table":"t","key":"m",
//!  "on_backend":{"version":7,"score":5},"on_peer":null,"seen":"peer_lacks",
//!  "why":"peer_lacks","detail":"…"}
//! {"settles":"8a1f…","line":"03c7…","how":"dropped","time":"2026-11-26T12:31:00Z",
//!  "unix":1795696260}
//! ```
//!
//! (each in one line). No line is changed; one that counts no longer may go when the file is
//! replaced. `"had_ttl":true` says that a record of the key carried a ttl. `table` is missing where
//! the kind has none, `member` where the member is the key. Bytes that are not UTF-8 stand in
//! `key_base64` instead of `key`, and so on. `null` means that the master does not have the key.
//! `id` names the key, so a later line about the same key takes the place of an earlier one, and a
//! settlement counts until the next difference.
//!
//! A command looks at a difference, and appends the settlement some time later; meanwhile the
//! server may have appended a newer difference about the key. So a command's settlement has in
//! `line` the hash of the line that it read ([`hash_of`]), and counts for nothing if another one is
//! the last about the key. (Times would not do: a clock can be set back, and two lines can have one
//! second.) A settlement without `line` is the server's. Nobody else appends differences, so it is
//! about the one that stands before it.
//!
//! A line is whole when its newline is there; what a crash has torn, also in the middle of the
//! file, counts for nothing.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::binlog::version;
use crate::ledger::rejected::{as_text_or_base64, from_base64, rfc3339, show_id};
use crate::limits::DIFFERENCES_LEFT_MAX;
use crate::reconcile::key::{KeyId, Kind, name};

/// Name of the file in a backend's state folder.
pub const FILE_NAME: &str = "differences.jsonl";

/// The name under which the file is written that replaces it.
pub const NEXT: &str = "differences.jsonl.next";

/// What a master has of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub version: u32,
    /// Its score; `None` where its kind has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<i64>,
}

/// A key on which the masters differed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When it was seen, Unix seconds.
    pub unix: u64,
    /// The backend whose log it was in.
    pub backend: String,
    /// The other master.
    pub peer: String,
    /// `key`, `hash`, `set` or `sorted_set`.
    pub kind: String,
    /// The table as query text; empty where the kind has none.
    pub table: Vec<u8>,
    /// The key as in the record: query text, or a set's raw member.
    pub key: Vec<u8>,
    /// The member that requests carry as their body, where it is not `key`.
    pub member: Option<Vec<u8>>,
    /// What the backend had; `None`: nothing.
    pub on_backend: Option<Stored>,
    /// What the peer had; `None`: nothing.
    pub on_peer: Option<Stored>,
    /// Whether a record of the key carried a ttl: a copy would not end.
    pub had_ttl: bool,
    /// One word for the reason why it was not mended.
    pub why: String,
    /// The reason as a sentence.
    pub detail: String,
}

/// The words of [`Difference::seen`].
pub const SEEN: [&str; 7] = [
    "both_lack",
    "backend_lacks",
    "peer_lacks",
    "peer_newer",
    "backend_newer",
    "score_differs",
    "value_differs",
];

/// How a difference came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    Mended,
    /// Somebody has seen it and wants to see it no more.
    Dropped,
    /// The masters were found equal.
    Equal,
}

impl How {
    /// As a sentence's end.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Mended => "it was mended",
            Self::Dropped => "it was dropped from the list",
            Self::Equal => "the masters were found equal",
        }
    }
}

/// The end of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Of which one ([`Difference::id`]).
    pub id: u64,
    /// Only of this line about it ([`hash_of`]); `None`: of the last one before this.
    pub line: Option<u64>,
    /// In which way.
    pub how: How,
    /// When, Unix seconds.
    pub unix: u64,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A key that differed, and the id that the line has.
    Difference(u64, Box<Difference>),
    /// The end of a difference.
    Settlement(Settlement),
}

/// Why bytes are no line of this file.
#[derive(Debug, thiserror::Error)]
pub enum DifferenceFault {
    /// No JSON object with these members.
    #[error("it is not as this server writes it: {0}")]
    Json(#[from] serde_json::Error),
    /// Neither text nor base64, both, or bad base64.
    #[error("it should have `{0}` as text or as base64")]
    Bytes(&'static str),
    /// Not 16 hexadecimal digits.
    #[error("its id is none: {0:?}")]
    Id(String),
}

/// The members of a difference's line, in their order.
#[derive(Serialize, Deserialize)]
struct Json {
    id: String,
    time: String,
    unix: u64,
    backend: String,
    peer: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member_base64: Option<String>,
    on_backend: Option<Stored>,
    on_peer: Option<Stored>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    had_ttl: bool,
    seen: String,
    why: String,
    detail: String,
}

/// The members of a settlement's line, in their order.
#[derive(Serialize, Deserialize)]
struct JsonSettlement {
    settles: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    how: How,
    time: String,
    unix: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonLine {
    Settlement(JsonSettlement),
    Difference(Box<Json>),
}

/// What names a key, as [`Difference::id`] does.
#[must_use]
pub fn id_of(key: &KeyId) -> u64 {
    id(key.kind.name(), &key.table, &key.borrowed().name())
}

/// What names a difference's line in a settlement: a hash of its bytes, without its newline.
#[must_use]
pub fn hash_of(line: &[u8]) -> u64 {
    xxh3_64(line)
}

/// The empty part and the 0 keep the ids that keys without escapes have had from the first.
fn id(kind: &str, table: &[u8], name: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    for part in [kind.as_bytes(), table, name, b""] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(&[0]);
    hash.digest()
}

impl Difference {
    /// What names the key, in whatever spelling: a hash of its kind, its table, and what hustdb
    /// calls it there.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id_by_name()
            .unwrap_or_else(|| id(&self.kind, &self.table, &self.key))
    }

    /// The same; `None` if it is of a kind that this version does not know.
    fn id_by_name(&self) -> Option<u64> {
        let kind = Kind::from_name(&self.kind)?;
        let name = name(kind, &self.key, self.member.as_deref());
        Some(id(&self.kind, &self.table, &name))
    }

    /// Tells the same with the masters in each other's place.
    pub fn swap_masters(&mut self) {
        std::mem::swap(&mut self.backend, &mut self.peer);
        std::mem::swap(&mut self.on_backend, &mut self.on_peer);
    }

    /// What was seen, in one word.
    #[must_use]
    pub fn seen(&self) -> &'static str {
        let (backend, peer) = match (self.on_backend, self.on_peer) {
            (None, None) => return "both_lack",
            (None, Some(_)) => return "backend_lacks",
            (Some(_), None) => return "peer_lacks",
            (Some(backend), Some(peer)) => (backend, peer),
        };
        match version::order_of_stored(backend.version, peer.version) {
            Ordering::Less => "peer_newer",
            Ordering::Greater => "backend_newer",
            Ordering::Equal if backend.score != peer.score => "score_differs",
            Ordering::Equal => "value_differs",
        }
    }

    /// The same as a sentence.
    #[must_use]
    pub fn seen_text(&self) -> &'static str {
        match self.seen() {
            "both_lack" => "neither master has it",
            "backend_lacks" => "the backend lacks it",
            "peer_lacks" => "the peer lacks it",
            "peer_newer" => "the peer has the later version",
            "backend_newer" => "the backend has the later version",
            "score_differs" => "the versions are equal and the scores differ",
            _ => "the versions are equal and the values differ",
        }
    }

    /// Appends it to `out` with its newline.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let has_table = !self.table.is_empty();
        let (table, table_base64) = split(has_table.then_some(&*self.table));
        let (key, key_base64) = split(Some(&self.key));
        let (member, member_base64) = split(self.member.as_deref());
        let json = Json {
            id: show_id(self.id()),
            time: rfc3339(self.unix),
            unix: self.unix,
            backend: self.backend.clone(),
            peer: self.peer.clone(),
            kind: self.kind.clone(),
            table,
            table_base64,
            key,
            key_base64,
            member,
            member_base64,
            on_backend: self.on_backend,
            on_peer: self.on_peer,
            had_ttl: self.had_ttl,
            seen: self.seen().to_owned(),
            why: self.why.clone(),
            detail: self.detail.clone(),
        };
        write(&json, out);
    }
}

impl Settlement {
    /// Appends it to `out` with its newline.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let json = JsonSettlement {
            settles: show_id(self.id),
            line: self.line.map(show_id),
            how: self.how,
            time: rfc3339(self.unix),
            unix: self.unix,
        };
        write(&json, out);
    }
}

impl Line {
    /// Reads one back, given without its newline.
    ///
    /// # Errors
    /// When it is not as this server writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DifferenceFault> {
        match serde_json::from_slice(bytes)? {
            JsonLine::Settlement(json) => Ok(Self::Settlement(Settlement {
                id: parse_id(json.settles)?,
                line: json.line.map(parse_id).transpose()?,
                how: json.how,
                unix: json.unix,
            })),
            JsonLine::Difference(json) => {
                let table = joined("table", json.table, json.table_base64)?;
                let key = joined("key", json.key, json.key_base64)?;
                let difference = Difference {
                    unix: json.unix,
                    backend: json.backend,
                    peer: json.peer,
                    kind: json.kind,
                    table: table.unwrap_or_default(),
                    key: key.ok_or(DifferenceFault::Bytes("key"))?,
                    member: joined("member", json.member, json.member_base64)?,
                    on_backend: json.on_backend,
                    on_peer: json.on_peer,
                    had_ttl: json.had_ttl,
                    why: json.why,
                    detail: json.detail,
                };
                // A line may have an id of before all spellings of a key had one.
                let written = parse_id(json.id)?;
                let id = difference.id_by_name().unwrap_or(written);
                Ok(Self::Difference(id, Box::new(difference)))
            }
        }
    }
}

/// Which differences of a file are left. It is given every line, and then knows which lines count:
/// it keeps two hashes for each key, not the lines.
///
/// It keeps a bounded number of keys: of more, those with the lowest ids. The others are beyond,
/// and only counted. Whoever wants to know them reads the file again for [`Self::next`].
#[derive(Clone, Debug)]
pub struct DifferencesLeft {
    keys_max: usize,
    /// Keys with lower ids are passed over: they were kept when the file was read before.
    first: u64,
    /// Keys with this id and higher ones are beyond.
    end: Option<u64>,
    /// The hash of the last line about each key that is not settled.
    lines: BTreeMap<u64, u64>,
    /// Lines about keys beyond that nobody has settled by name: at least as many as such keys.
    beyond: u64,
    unrecognized: u64,
}

impl Default for DifferencesLeft {
    fn default() -> Self {
        Self::with_keys_max(DIFFERENCES_LEFT_MAX)
    }
}

impl DifferencesLeft {
    /// Keeps so many keys at most, and at least one.
    #[must_use]
    pub fn with_keys_max(keys_max: usize) -> Self {
        Self {
            keys_max: keys_max.max(1),
            first: 0,
            end: None,
            lines: BTreeMap::new(),
            beyond: 0,
            unrecognized: 0,
        }
    }

    /// One that keeps as many, and has nothing yet.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self::with_keys_max(self.keys_max)
    }

    /// For those beyond, when the file is read again; `None` where there are none.
    #[must_use]
    pub fn next(&self) -> Option<Self> {
        let first = self.end?;
        Some(Self {
            first,
            ..self.emptied()
        })
    }

    /// Takes in a whole line, given without its newline.
    pub fn handle_line(&mut self, bytes: &[u8]) {
        // Whoever appends may begin with a newline.
        if bytes.is_empty() {
            return;
        }
        match Line::parse(bytes) {
            Ok(Line::Difference(id, _)) if id >= self.first => self.insert(id, hash_of(bytes)),
            Ok(Line::Settlement(settlement)) if settlement.id >= self.first => {
                self.settle(&settlement);
            }
            Ok(_) => {}
            Err(_) => self.handle_unrecognized(),
        }
    }

    /// Counts a line that is none of this server's.
    pub fn handle_unrecognized(&mut self) {
        self.unrecognized += 1;
    }

    fn insert(&mut self, id: u64, hash: u64) {
        if self.is_beyond(id) {
            self.beyond += 1;
            return;
        }
        self.lines.insert(id, hash);
        if self.lines.len() > self.keys_max
            && let Some((last, _)) = self.lines.pop_last()
        {
            self.end = Some(last);
            self.beyond += 1;
        }
    }

    fn settle(&mut self, settlement: &Settlement) {
        let Settlement { id, line, .. } = settlement;
        if self.is_beyond(*id) {
            // Whoever names the line knows that it was left. The server does not know that of those
            // beyond.
            let is_known = u64::from(line.is_some());
            self.beyond = self.beyond.saturating_sub(is_known);
        } else if line.is_none() || line.as_ref() == self.lines.get(id) {
            self.lines.remove(id);
        }
    }

    fn is_beyond(&self, id: u64) -> bool {
        self.end.is_some_and(|end| id >= end)
    }

    /// Whether the difference with this id is left, and the line with this hash is the last one
    /// about it. Takes it out, so that a line that is there twice counts once.
    pub fn take(&mut self, id: u64, hash: u64) -> bool {
        let is_last = self.lines.get(&id) == Some(&hash);
        if is_last {
            self.lines.remove(&id);
        }
        is_last
    }

    /// Whether a difference about the key with this id may be left: of those beyond it is not
    /// known.
    #[must_use]
    pub fn may_have(&self, id: u64) -> bool {
        self.is_beyond(id) || self.lines.contains_key(&id)
    }

    /// How many are left, at most: of those beyond, a line may have been replaced by another.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lines.len() as u64 + self.beyond
    }

    /// Whether some may be left that are not kept.
    #[must_use]
    pub fn has_beyond(&self) -> bool {
        self.end.is_some()
    }

    /// How many lines are none of this server's.
    #[must_use]
    pub fn unrecognized(&self) -> u64 {
        self.unrecognized
    }
}

fn write(json: &impl Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, json)
        .expect("a vector takes every byte, and the keys are strings");
    out.push(b'\n');
}

fn split(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    let (text, base64) = bytes.map(as_text_or_base64).unwrap_or_default();
    (text.map(str::to_owned), base64)
}

fn joined(
    name: &'static str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Vec<u8>>, DifferenceFault> {
    match (text, base64) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(base64)) => {
            let bytes = from_base64(&base64).ok_or(DifferenceFault::Bytes(name))?;
            Ok(Some(bytes))
        }
        (Some(_), Some(_)) => Err(DifferenceFault::Bytes(name)),
    }
}

fn parse_id(text: String) -> Result<u64, DifferenceFault> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u64::from_str_radix(&text, 16) {
        Ok(id) if is_id => Ok(id),
        _ => Err(DifferenceFault::Id(text)),
    }
}

#[cfg(test)]
impl Difference {
    /// One of a key, for tests.
    pub(crate) fn sample(key: &str) -> Self {
        Self {
            unix: 1,
            backend: "a:1".to_owned(),
            peer: "b:1".to_owned(),
            kind: "key".to_owned(),
            table: Vec::new(),
            key: key.as_bytes().to_vec(),
            member: None,
            on_backend: None,
            on_peer: None,
            had_ttl: false,
            why: "report_only".to_owned(),
            detail: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn difference(key: &[u8]) -> Difference {
        Difference {
            unix: 1_795_696_200,
            backend: "10.0.0.7:8085".to_owned(),
            peer: "10.0.0.8:8085".to_owned(),
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
            detail: "only the backend has it".to_owned(),
        }
    }

    fn settlement(id: u64) -> Settlement {
        Settlement {
            id,
            line: None,
            how: How::Dropped,
            unix: 1_795_696_260,
        }
    }

    fn encoded(difference: &Difference) -> Vec<u8> {
        let mut bytes = Vec::new();
        difference.encode(&mut bytes);
        bytes
    }

    /// What is left of a file, its torn end left out.
    fn fold(file: &[u8]) -> DifferencesLeft {
        fold_into(DifferencesLeft::default(), file)
    }

    fn fold_into(mut left: DifferencesLeft, file: &[u8]) -> DifferencesLeft {
        for line in file.split_inclusive(|byte| *byte == b'\n') {
            if let Some(whole) = line.strip_suffix(b"\n") {
                left.handle_line(whole);
            }
        }
        left
    }

    /// Whether this line is the last one about a difference that is left.
    fn has(left: &DifferencesLeft, line: &Difference) -> bool {
        left.clone()
            .take(line.id(), hash_of(encoded(line).trim_ascii_end()))
    }

    #[test]
    fn a_line_reads_as_the_module_says() {
        let one = difference(b"m\0");
        let expected = format!(
            concat!(
                r#"{{"id":"{}","time":"2026-11-26T12:30:00Z","unix":1795696200,"#,
                r#""backend":"10.0.0.7:8085","peer":"10.0.0.8:8085","kind":"sorted_set","#,
                r#""table":"t","key":"m\u0000","on_backend":{{"version":7,"score":-5}},"#,
                r#""on_peer":null,"seen":"peer_lacks","why":"peer_lacks","#,
                r#""detail":"only the backend has it"}}"#,
                "\n"
            ),
            show_id(one.id())
        );
        assert_eq!(String::from_utf8(encoded(&one)).unwrap(), expected);
        let mut bytes = Vec::new();
        let mut settles = settlement(255);
        settles.encode(&mut bytes);
        settles.line = Some(254);
        settles.encode(&mut bytes);
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            concat!(
                r#"{"settles":"00000000000000ff","how":"dropped","time":"2026-11-26T12:31:00Z","#,
                r#""unix":1795696260}"#,
                "\n",
                r#"{"settles":"00000000000000ff","line":"00000000000000fe","how":"dropped","#,
                r#""time":"2026-11-26T12:31:00Z","unix":1795696260}"#,
                "\n"
            )
        );
    }

    #[test]
    fn bytes_that_are_not_text_stand_in_base64() {
        let mut one = difference(b"\xff\xfe");
        one.table.clear();
        one.member = Some(b"\xfd".to_vec());
        let text = String::from_utf8(encoded(&one)).unwrap();
        assert!(
            text.contains(r#""key_base64":"//4=","member_base64":"/Q==","#),
            "{text}"
        );
        assert!(!text.contains("table"), "{text}");
    }

    #[test]
    fn what_was_seen_has_a_word_and_a_sentence() {
        let stored = |version, score| Some(Stored { version, score });
        let mut words = Vec::new();
        for (on_backend, on_peer, expected) in [
            (None, None, "both_lack"),
            (None, stored(1, None), "backend_lacks"),
            (stored(1, None), None, "peer_lacks"),
            (stored(1, None), stored(2, None), "peer_newer"),
            (stored(65_642, None), stored(123, None), "peer_newer"),
            (stored(2, Some(1)), stored(1, Some(1)), "backend_newer"),
            (stored(2, Some(1)), stored(2, Some(2)), "score_differs"),
            (stored(2, None), stored(2, None), "value_differs"),
        ] {
            let one = Difference {
                on_backend,
                on_peer,
                ..difference(b"k")
            };
            assert_eq!(one.seen(), expected);
            assert!(SEEN.contains(&expected));
            words.push(one.seen_text());
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 7, "each has a sentence of its own");
    }

    #[test]
    fn an_id_names_the_key_and_nothing_else() {
        let one = difference(b"k");
        let later = Difference {
            unix: 1,
            peer: "c:1".to_owned(),
            on_peer: one.on_backend,
            why: "declined".to_owned(),
            ..one.clone()
        };
        assert_eq!(one.id(), later.id());
        let spellings = [
            difference(b"%6b"),
            Difference {
                member: Some(Vec::new()),
                ..one.clone()
            },
            Difference {
                member: Some(b"k".to_vec()),
                ..difference(b"")
            },
        ];
        for spelling in spellings {
            assert_eq!(one.id(), spelling.id(), "{spelling:?}");
        }
        let others = [
            Difference {
                kind: "set".to_owned(),
                ..one.clone()
            },
            Difference {
                table: b"tk".to_vec(),
                key: Vec::new(),
                ..one.clone()
            },
            Difference {
                member: Some(b"m".to_vec()),
                ..one.clone()
            },
            difference(b"l"),
        ];
        for other in others {
            assert_ne!(one.id(), other.id(), "{other:?}");
        }
    }

    #[test]
    fn what_is_settled_is_not_left_until_it_differs_again() {
        let (one, two) = (difference(b"1"), difference(b"2"));
        let mut file = encoded(&one);
        two.encode(&mut file);
        assert!(has(&fold(&file), &one) && has(&fold(&file), &two));
        settlement(one.id()).encode(&mut file);
        assert!(!fold(&file).may_have(one.id()) && has(&fold(&file), &two));
        settlement(7).encode(&mut file);
        assert_eq!(fold(&file).count(), 1, "nobody knows 7");
        // The second line about a key takes the place of the first.
        let again = Difference {
            unix: two.unix + 1,
            ..two.clone()
        };
        again.encode(&mut file);
        let left = fold(&file);
        assert!(left.count() == 1 && has(&left, &again) && !has(&left, &two));
        one.encode(&mut file);
        assert!(has(&fold(&file), &one));
    }

    #[test]
    fn a_settlement_that_names_a_line_ends_no_newer_difference() {
        let seen = difference(b"1");
        let mut settles = settlement(seen.id());
        settles.line = Some(hash_of(encoded(&seen).trim_ascii_end()));
        // A clock that was set back, the same second, and a later one.
        for unix in [seen.unix - 3600, seen.unix, seen.unix + 180] {
            let newer = Difference {
                unix,
                why: "still_differs".to_owned(),
                ..seen.clone()
            };
            let mut file = encoded(&seen);
            let mut in_time = file.clone();
            settles.encode(&mut in_time);
            assert!(fold(&in_time).count() == 0);
            newer.encode(&mut file);
            settles.encode(&mut file);
            assert!(has(&fold(&file), &newer), "{unix}");
            // What the server settles is what stands before.
            settlement(seen.id()).encode(&mut file);
            assert!(fold(&file).count() == 0, "{unix}");
        }
    }

    #[test]
    fn a_line_that_is_there_twice_counts_once() {
        let one = difference(b"1");
        let mut left = fold(&[encoded(&one), encoded(&one)].concat());
        let hash = hash_of(encoded(&one).trim_ascii_end());
        assert_eq!(
            [left.take(one.id(), hash), left.take(one.id(), hash)],
            [true, false]
        );
    }

    #[test]
    fn a_torn_line_counts_for_nothing_wherever_it_is() {
        let (one, two) = (encoded(&difference(b"1")), encoded(&difference(b"2")));
        for cut in 0..one.len() {
            let mut file = two.clone();
            file.extend_from_slice(&one[..cut]);
            assert_eq!(fold(&file).count(), 1, "cut at {cut}");
            // Whoever appends after a crash begins with a newline.
            file.push(b'\n');
            file.extend_from_slice(&one);
            let left = fold(&file);
            assert_eq!(
                (left.count(), left.unrecognized()),
                (2, u64::from((1..one.len() - 1).contains(&cut)))
            );
        }
    }

    #[test]
    fn of_too_many_the_rest_is_counted_and_comes_when_the_file_is_read_again() {
        let all: Vec<Difference> = (0..7).map(|key| difference(&[b'a' + key])).collect();
        let mut file: Vec<u8> = all.iter().flat_map(encoded).collect();
        let few = DifferencesLeft::with_keys_max(3);
        let (mut left, mut found) = (Some(few.clone()), Vec::new());
        let mut counts = Vec::new();
        while let Some(window) = left {
            let window = fold_into(window, &file);
            counts.push(window.count());
            assert!(all.iter().filter(|one| has(&window, one)).count() <= 3);
            found.extend(
                all.iter()
                    .filter(|one| has(&window, one))
                    .map(Difference::id),
            );
            left = window.next();
        }
        let mut ids: Vec<u64> = all.iter().map(Difference::id).collect();
        ids.sort_unstable();
        found.sort_unstable();
        assert_eq!((counts, found), (vec![7, 4, 1], ids.clone()));
        // Whether one beyond is left, nobody knows who does not read again.
        let window = fold_into(few.clone(), &file);
        assert!(ids.iter().all(|id| window.may_have(*id)) && window.has_beyond());

        // Those that are settled are no longer counted, wherever they are.
        for one in &all {
            let mut settles = settlement(one.id());
            settles.line = Some(hash_of(encoded(one).trim_ascii_end()));
            settles.encode(&mut file);
        }
        assert_eq!(fold_into(few, &file).count(), 0);
    }

    #[test]
    fn what_is_none_of_ours_says_why() {
        let fault = |text: &str| Line::parse(text.as_bytes()).unwrap_err().to_string();
        let good = String::from_utf8(encoded(&difference(b"k"))).unwrap();
        let good = good.trim_end();
        assert!(Line::parse(good.as_bytes()).is_ok());
        for (from, to, expected) in [
            (
                "\"key\":\"k\",",
                "",
                "it should have `key` as text or as base64",
            ),
            (
                "\"key\":\"k\",",
                "\"key\":\"k\",\"key_base64\":\"aw==\",",
                "it should have `key` as text or as base64",
            ),
            (
                "\"key\":\"k\",",
                "\"key_base64\":\"*\",",
                "it should have `key` as text or as base64",
            ),
            ("\"id\":\"", "\"id\":\"+", "its id is none"),
            ("\"why\"", "\"y\"", "it is not as this server writes it"),
        ] {
            let text = good.replace(from, to);
            assert_ne!(text, good);
            assert!(
                fault(&text).starts_with(expected),
                "{text}: {}",
                fault(&text)
            );
        }
        assert!(fault("x").starts_with("it is not as this server writes it"));
        assert!(
            fault(r#"{"settles":"1","how":"dropped","time":"","unix":1}"#)
                .starts_with("its id is none")
        );
        let line =
            r#"{"settles":"00000000000000ff","line":"1","how":"dropped","time":"","unix":1}"#;
        assert!(fault(line).starts_with("its id is none"));
    }

    fn any_difference() -> impl Strategy<Value = Difference> {
        let stored = || {
            let score = prop::option::of(any::<i64>());
            let stored =
                (any::<u32>(), score).prop_map(|(version, score)| Stored { version, score });
            prop::option::of(stored)
        };
        let names = (".{0,9}", ".{0,9}", "[a-z_]{0,9}", "[a-z_]{0,9}", ".{0,9}");
        let member = prop::option::of(any::<Vec<u8>>());
        let bytes = (any::<Vec<u8>>(), any::<Vec<u8>>(), member);
        (any::<u64>(), names, bytes, stored(), stored()).prop_map(
            |(
                unix,
                (backend, peer, kind, why, detail),
                (table, key, member),
                on_backend,
                on_peer,
            )| {
                Difference {
                    unix,
                    backend,
                    peer,
                    kind,
                    table,
                    key,
                    member,
                    on_backend,
                    on_peer,
                    had_ttl: unix % 2 == 0,
                    why,
                    detail,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(one in any_difference(), id: u64, unix: u64) {
            let bytes = encoded(&one);
            prop_assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
            match Line::parse(bytes.trim_ascii_end()) {
                Ok(Line::Difference(id, read)) => prop_assert_eq!((id, *read), (one.id(), one)),
                other => prop_assert!(false, "{:?}", other),
            }
            for how in [How::Mended, How::Dropped, How::Equal] {
                let line = (unix % 2 == 0).then_some(unix);
                let settlement = Settlement { id, line, how, unix };
                let mut bytes = Vec::new();
                settlement.encode(&mut bytes);
                let read = Line::parse(bytes.trim_ascii_end()).unwrap();
                prop_assert_eq!(read, Line::Settlement(settlement));
            }
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(fold(&bytes).count() == 0);
        }
    }
}
