//! What there is to know of each method, in one row each (docs/hustdb.md).
//!
//! Everything that differs from method to method is a field of [`MethodRow`], and everybody reads
//! it there: the request, the ttl, the lookup, the meaning of an answer. [`Method::row`] matches
//! without a wildcard and no row has defaults, so a new method compiles only once each question is
//! answered. The most important one is [`Twice`]: a method that adds and is taken for one that can
//! be repeated would count twice (guarantees, G4).

/// Declares the methods, so that none can be missing in [`Method::ALL`].
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)+) => {
        /// What a record does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Method {
            $($(#[$doc])* $name = $code,)+
        }

        impl Method {
            /// All of them, in the order of their codes.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$name),+];
        }
    };
}

methods! {
    /// Sets a key.
    Put = 1,
    /// Deletes a key.
    Del = 2,
    /// Sets a key of a hash.
    Hset = 3,
    /// Deletes a key of a hash.
    Hdel = 4,
    /// Adds a member to a set.
    Sadd = 5,
    /// Removes a member from a set.
    Srem = 6,
    /// Sets, raises or lowers a member's score in a sorted set.
    Zadd = 7,
    /// Removes a member from a sorted set.
    Zrem = 8,
    /// Sets a key of a table, of an older hustdb.
    TbPut = 17,
    /// Updates a key of a table, of an older hustdb.
    TbUpdate = 18,
    /// Deletes a key of a table, of an older hustdb.
    TbDelete = 19,
}

/// What distinguishes a method from the others.
#[derive(Debug)]
pub struct MethodRow {
    /// As in a request's path; `tb_…` for the older ones.
    pub name: &'static str,
    /// The request up to its arguments.
    pub start: &'static [u8],
    /// Where the request's key is.
    pub key: Key,
    /// Whether the request names a table.
    pub table: bool,
    /// Whether the request has a score, and `opt`, which says what to do with it.
    pub score: bool,
    /// Whether the record's value is the request's body.
    pub body: bool,
    /// Whether a client may write the value as `val=` in the query. HA does not keep such a value.
    pub val_argument: bool,
    /// What a ttl means.
    pub ttl: Ttl,
    /// The method that removes what this one writes; `None` for those that remove.
    pub removed_by: Option<Method>,
    /// What happens when a record is applied twice.
    pub twice: Twice,
    /// How the backend is asked what it has; `None` where it never needs to be.
    pub lookup: Option<&'static LookupForm>,
    /// What 404 means.
    pub on_404: Missing,
    /// What 412 means.
    pub on_412: Missing,
}

/// Where a request's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// First of the arguments.
    Query,
    Body,
    /// In the body, or last of the arguments where the body is empty.
    BodyOrQuery,
}

/// What a ttl means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The method takes none.
    None,
    /// The value ends with it. The argument follows the version, 0 for none. A record whose time is
    /// over is replayed as [`MethodRow::removed_by`] (guarantees, G5).
    OfValue,
    /// The member ends with it, if this record makes the member. The argument is the last one, and
    /// absent where it is 0. A record whose time is over is looked up first (G5).
    OfMember,
}

/// What happens when a record is applied twice (guarantees, G4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// The same as when it is applied once: its version decides.
    Same,
    /// The same for who asks for the member. But behind a later write of it, its set's order by
    /// score is harmed (docs/hustdb.md).
    HarmsOrder,
    /// It counts twice where `opt` is not 0; where it is, as [`Twice::HarmsOrder`].
    AddsUnlessOptIsZero,
}

/// How the backend is asked for a member and its version.
#[derive(Debug, PartialEq, Eq)]
pub struct LookupForm {
    /// The request up to the table's name.
    pub start: &'static [u8],
    /// Whether the member may be an argument, where the body is empty.
    pub key_argument: bool,
}

/// What an answer means that finds something missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The record was to remove what is not there: it is done.
    Absent,
    /// The record is rejected, for this reason (one word).
    Rejected(&'static str),
    /// No answer of a healthy hustdb.
    Trouble,
}

const ZSCORE: LookupForm = LookupForm {
    start: b"GET /hustdb/zscore?tb=",
    key_argument: true,
};
const SISMEMBER: LookupForm = LookupForm {
    start: b"POST /hustdb/sismember?tb=",
    key_argument: false,
};

/// A parameter or the value is missing, or `/husttb` is.
const NOT_FOUND: Missing = Missing::Rejected("not_found");
/// The table has another type.
const TABLE_TYPE: Missing = Missing::Rejected("table_type");

impl Method {
    /// The method with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|method| *method as u8 == code)
    }

    /// The method of this name.
    #[must_use]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// What distinguishes it from the others.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a row for each method")]
    pub const fn row(self) -> &'static MethodRow {
        match self {
            Self::Put => &MethodRow {
                name: "put",
                start: b"POST /hustdb/put?",
                key: Key::Query,
                table: false,
                score: false,
                body: true,
                val_argument: true,
                ttl: Ttl::OfValue,
                removed_by: Some(Self::Del),
                twice: Twice::Same,
                lookup: None,
                on_404: NOT_FOUND,
                on_412: Missing::Trouble,
            },
            Self::Del => &MethodRow {
                name: "del",
                start: b"GET /hustdb/del?",
                key: Key::Query,
                table: false,
                score: false,
                body: false,
                val_argument: false,
                ttl: Ttl::None,
                removed_by: None,
                twice: Twice::Same,
                lookup: None,
                on_404: Missing::Absent,
                on_412: Missing::Trouble,
            },
            Self::Hset => &MethodRow {
                name: "hset",
                start: b"POST /hustdb/hset?",
                key: Key::Query,
                table: true,
                score: false,
                body: true,
                val_argument: true,
                ttl: Ttl::OfValue,
                removed_by: Some(Self::Hdel),
                twice: Twice::Same,
                lookup: None,
                on_404: NOT_FOUND,
                on_412: TABLE_TYPE,
            },
            Self::Hdel => &MethodRow {
                name: "hdel",
                start: b"GET /hustdb/hdel?",
                key: Key::Query,
                table: true,
                score: false,
                body: false,
                val_argument: false,
                ttl: Ttl::None,
                removed_by: None,
                twice: Twice::Same,
                lookup: None,
                on_404: Missing::Absent,
                on_412: Missing::Absent,
            },
            Self::Sadd => &MethodRow {
                name: "sadd",
                start: b"POST /hustdb/sadd?",
                key: Key::Body,
                table: true,
                score: false,
                body: true,
                val_argument: false,
                ttl: Ttl::OfMember,
                removed_by: Some(Self::Srem),
                twice: Twice::Same,
                lookup: Some(&SISMEMBER),
                on_404: NOT_FOUND,
                on_412: TABLE_TYPE,
            },
            Self::Srem => &MethodRow {
                name: "srem",
                start: b"POST /hustdb/srem?",
                key: Key::Body,
                table: true,
                score: false,
                body: true,
                val_argument: false,
                ttl: Ttl::None,
                removed_by: None,
                twice: Twice::Same,
                lookup: None,
                on_404: Missing::Absent,
                on_412: Missing::Absent,
            },
            // GET also with a body: hustdb decodes the member of a GET, as it did when HA wrote it
            // live.
            Self::Zadd => &MethodRow {
                name: "zadd",
                start: b"GET /hustdb/zadd?",
                key: Key::BodyOrQuery,
                table: true,
                score: true,
                body: true,
                val_argument: false,
                ttl: Ttl::OfMember,
                removed_by: Some(Self::Zrem),
                twice: Twice::AddsUnlessOptIsZero,
                lookup: Some(&ZSCORE),
                on_404: NOT_FOUND,
                on_412: TABLE_TYPE,
            },
            Self::Zrem => &MethodRow {
                name: "zrem",
                start: b"GET /hustdb/zrem?",
                key: Key::BodyOrQuery,
                table: true,
                score: false,
                body: true,
                val_argument: false,
                ttl: Ttl::None,
                removed_by: None,
                twice: Twice::HarmsOrder,
                lookup: Some(&ZSCORE),
                on_404: Missing::Absent,
                on_412: Missing::Absent,
            },
            // Nobody writes the last three any more. A hustdb without `/husttb` answers 404 to
            // them.
            Self::TbPut => &MethodRow {
                name: "tb_put",
                start: b"POST /husttb/put?",
                key: Key::Query,
                table: true,
                score: false,
                body: true,
                val_argument: false,
                ttl: Ttl::None,
                removed_by: Some(Self::TbDelete),
                twice: Twice::Same,
                lookup: None,
                on_404: NOT_FOUND,
                on_412: Missing::Trouble,
            },
            Self::TbUpdate => &MethodRow {
                name: "tb_update",
                start: b"POST /husttb/update?",
                key: Key::Query,
                table: true,
                score: false,
                body: true,
                val_argument: false,
                ttl: Ttl::None,
                removed_by: Some(Self::TbDelete),
                twice: Twice::Same,
                lookup: None,
                on_404: NOT_FOUND,
                on_412: Missing::Trouble,
            },
            Self::TbDelete => &MethodRow {
                name: "tb_delete",
                start: b"GET /husttb/delete?",
                key: Key::Query,
                table: true,
                score: false,
                body: false,
                val_argument: false,
                ttl: Ttl::None,
                removed_by: None,
                twice: Twice::Same,
                lookup: None,
                on_404: NOT_FOUND,
                on_412: Missing::Trouble,
            },
        }
    }
}

/// What makes a row whole: who may count twice or lose a member can be looked up, and who ends can
/// be removed.
const _: () = {
    let mut at = 0;
    while at < Method::ALL.len() {
        let row = Method::ALL[at].row();
        let is_looked_up = matches!(row.ttl, Ttl::OfMember) || !matches!(row.twice, Twice::Same);
        assert!(row.lookup.is_some() == is_looked_up);
        assert!(row.removed_by.is_some() || matches!(row.ttl, Ttl::None));
        assert!(row.body || matches!(row.key, Key::Query));
        at += 1;
    }
};
