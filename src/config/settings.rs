//! The table of all settings: type, default, range, when a change takes effect, whose key it is,
//! and what it means.
//!
//! Everything else about settings follows from these rows. A new one is one row.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::access::AccessList;
use super::change::Change;
use super::entries::Entries;
use super::error::ConfigError;
use super::key::{Effect, Key, Origin};
use super::kind::{Kind, Unit};
use super::secret::Secret;
use super::value::{EngineName, LogFormat, LogLevel, Typed};
use crate::limits::{
    HUSTDB_ANSWERS_PER_CONNECTION, HUSTDB_READ_BYTES, LINE_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::reconcile::settings::{Deletes, ReconcileMode, ReconcileSettings};

/// Least bytes for lines in memory: the longest line has to fit whole.
pub const MEMORY_BUDGET_MIN: u64 = 48 << 20;
const _: () = assert!(MEMORY_BUDGET_MIN >= LINE_BYTES_MAX as u64);

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

const fn milliseconds(min: u64, max: Duration) -> Kind {
    Kind::Time {
        unit: Unit::Milliseconds,
        min: Duration::from_millis(min),
        max,
    }
}

/// Seconds as a plain number; the least is given in milliseconds all the same, which a string can
/// state.
const fn seconds(min_ms: u64, max: Duration) -> Kind {
    Kind::Time {
        unit: Unit::Seconds,
        min: Duration::from_millis(min_ms),
        max,
    }
}

/// Makes a section's struct, its table of keys, and what reads and compares it, from rows of
/// `name: type = default, kind, effect, origin, meaning;`.
macro_rules! settings {
    ($(#[$about:meta])* $struct:ident, $section:literal;
     $($name:ident: $type:ty = $default:literal, $kind:expr, $effect:ident, $origin:ident,
       $meaning:literal;)*) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $struct {
            $(#[doc = $meaning] pub $name: $type,)*
        }

        impl $struct {
            pub(super) const KEYS: &'static [Key] = &[$(Key {
                section: $section,
                name: stringify!($name),
                kind: $kind,
                default: $default,
                effect: Effect::$effect,
                origin: Origin::$origin,
                meaning: $meaning,
            },)*];

            /// Reads every key; what is wrong is added to `faults`, and the default stands in.
            pub(super) fn read(entries: &Entries<'_>, faults: &mut Vec<ConfigError>) -> Self {
                let mut keys = Self::KEYS.iter();
                let mut key = || keys.next().expect("there is one row a field");
                Self { $($name: key().value(entries, faults),)* }
            }

            /// What differs in `new`, in the table's order.
            pub(super) fn differences(&self, new: &Self) -> Vec<Change> {
                let mut keys = Self::KEYS.iter();
                let mut key = || keys.next().expect("there is one row a field");
                let mut changes = Vec::new();
                $({
                    let key = key();
                    if self.$name != new.$name {
                        let [old, new] = [self, new].map(|of| of.$name.show(&key.kind));
                        changes.push(Change::new(key, old, new));
                    }
                })*
                changes
            }

            /// Takes over from `new` what can change while running.
            pub(super) fn take_immediate(&mut self, new: Self) {
                $(if Effect::$effect == Effect::Immediate { self.$name = new.$name; })*
            }
        }
    };
}

settings! {
    /// What HA sees: the listener and its rules.
    NetworkSettings, "network";
    port: u16 = "8089", count(0, 65_535), NeedsRestart, Original,
        "HA-facing listener's port. 0 takes any free one, which HA can't know: for tests.";
    bind: Option<IpAddr> = "null", Kind::Address, NeedsRestart, New,
        "Address to listen on. Without it: 127.0.0.1 if access_allow names loopback addresses \
         only (::1 if it names no other), else 0.0.0.0.";
    backlog: u32 = "512", count(1, 65_535), NeedsRestart, Original,
        "Connections that can wait to be accepted.";
    enable_reuseport: bool = "true", Kind::Boolean, NeedsRestart, Original,
        "SO_REUSEPORT on the listener.";
    enable_nodelay: bool = "true", Kind::Boolean, NeedsRestart, Original,
        "TCP_NODELAY on accepted connections.";
    enable_defer_accept: bool = "true", Kind::Boolean, NeedsRestart, Original,
        "TCP_DEFER_ACCEPT on the listener.";
    disable_100_cont: bool = "true", Kind::Boolean, NeedsRestart, Original,
        "Answer no `100 Continue`.";
    max_body_size: usize = "16777216", size(0, (2 << 30) - 1), NeedsRestart, Original,
        "Bytes that a request's body can have.";
    max_keepalive_requests: u32 = "1024", count(1, 4_294_967_295), NeedsRestart, Original,
        "Requests on one connection, then `Connection: close`.";
    recv_timeout: Duration = "300", seconds(1, DAY), NeedsRestart, Original,
        "Seconds to wait for HA to send.";
    send_timeout: Duration = "300", seconds(1, DAY), NeedsRestart, Original,
        "Seconds to wait for HA to receive.";
    threads: u32 = "2", count(1, 65_535), NeedsRestart, Original,
        "Read for compatibility and without effect: the control thread needs no more.";
    user: String = "\"sync\"", Kind::User, Immediate, Original,
        "User of /sync_status (basic authentication).";
    passwd: Secret = "\"sync\"", Kind::Password, Immediate, Original,
        "Password of /sync_status.";
    passwd_file: Option<PathBuf> = "null", Kind::Optional(&Kind::Path), Immediate, New,
        "File whose first line is the password, in place of passwd. Without either, the \
         environment variable HUSTDBSYNC_PASSWD goes before passwd.";
    viewer_user: Option<String> = "null", Kind::Optional(&Kind::User), Immediate, New,
        "A user who may look only: the page, status and metrics. Without it there is none.";
    viewer_password: Secret = "\"\"", Kind::Password, Immediate, New,
        "Password of viewer_user.";
    viewer_password_file: Option<PathBuf> = "null", Kind::Optional(&Kind::Path), Immediate, New,
        "File whose first line is viewer_user's password. The environment variable is \
         HUSTDBSYNC_VIEWER_PASSWORD.";
    host_names: Vec<String> = "\"\"", Kind::Names, Immediate, New,
        "Names by which browsers and scripts may call this server, beside its host's own, \
         addresses and names without a dot; separated by commas, * for any. Asked by another name, \
         it shows no page and takes no command.";
    access_allow: AccessList = "\"127.0.0.1\"", Kind::Access, NeedsRestart, Original,
        "Peers that may connect: addresses, a-b ranges, networks such as 10.0.0.0/8, IPv6 too, \
         separated by commas. Empty admits everyone.";
}

settings! {
    /// What the replay does: paths, rates, bounds.
    SyncSettings, "sync";
    daemon: bool = "true", Kind::Boolean, NeedsRestart, Original,
        "Read for compatibility and without effect: -d and `run` decide.";
    logs_path: PathBuf = "\"/data/hustdbha/logs/\"", Kind::Path, NeedsRestart, Original,
        "HA's logs, a folder for each backend. It must exist and be readable and writable.";
    ngx_path: PathBuf = "\"/data/hustdbha/\"", Kind::Path, NeedsRestart, Original,
        "HA's home. Our state is in its folder `status`.";
    auth_path: PathBuf = "\"/data/hustdbha/conf/htpasswd\"", Kind::Path, Immediate, Original,
        "File whose first line is `user:password` for the backends, in plain text. Others should \
         not be able to read it.";
    threads: usize = "4", count(1, 256), NeedsRestart, Original,
        "Workers: threads that send to backends.";
    release_interval: Duration = "5000", milliseconds(1, DAY), Immediate, Original,
        "Milliseconds between looks for finished logs.";
    checkdb_interval: Duration = "5000", milliseconds(1, DAY), Immediate, Original,
        "Milliseconds between probes of a backend.";
    checklog_interval: Duration = "60000", milliseconds(1, DAY), Immediate, Original,
        "Milliseconds for which HA writes to one log. A log is closed when it has not changed for \
         this plus 20 s.";
    connections_per_backend: usize = "16", count(1, 1024), NeedsRestart, New,
        "Connections to each backend.";
    burst_bytes: usize = "4096", size(0, HUSTDB_READ_BYTES as u64), NeedsRestart, New,
        "Bytes of whole requests in one send. 0 is one request a send. A backend reads 4096 at a \
         time, and more can be mis-stored.";
    head_bytes_max: usize = "4096", size(256, HUSTDB_READ_BYTES as u64), NeedsRestart, New,
        "A request whose target ends behind this octet is rejected and not sent: a backend would \
         mis-store it or crash.";
    requests_per_connection: u32 = "80000", count(1, HUSTDB_ANSWERS_PER_CONNECTION as u64 - 1),
        NeedsRestart, New,
        "Requests after which a connection is replaced. A backend closes it after 81,920 without \
         saying so.";
    memory_budget: usize = "\"64MiB\"", size(MEMORY_BUDGET_MIN, 1 << 40), NeedsRestart, New,
        "Bytes of log lines in memory, for all backends together.";
    in_flight_per_backend: usize = "65536", count(1, 16_777_216), Immediate, New,
        "Records that are read and not yet completed, for each backend.";
    max_rate_per_backend: u32 = "0", count(0, 100_000_000), Immediate, New,
        "Records a second to each backend. 0 is no bound.";
    attempts_max: u32 = "10", count(1, 1_000_000), NeedsRestart, New,
        "Tries after which a single record that fails while its backend is otherwise well is \
         rejected.";
    outcomes: Vec<(String, String)> = "{}", Kind::Outcomes, NeedsRestart, New,
        "Overrides of what a backend's answer means. 200 has none: VerError says what it means.";
    probe_interval_down: Duration = "500", milliseconds(1, HOUR), Immediate, New,
        "Milliseconds between probes of a backend that is down and has a backlog.";
    resolve_interval: Duration = "30", seconds(1, DAY), Immediate, New,
        "Seconds between look-ups of the name of a backend that is up. One that has moved is \
         followed within them.";
    ttl_hold: Duration = "2", seconds(0, HOUR), Immediate, New,
        "Seconds of good probes before a record with a ttl is sent: a backend loses those in its \
         first second.";
    ambiguity_window: Duration = "62", seconds(0, HOUR), Immediate, New,
        "Seconds after a backend has hung in which HA may still log a write that it applied: HA's \
         proxy timeouts. An increment logged then is asked for first.";
    checkpoint_interval: Duration = "1000", milliseconds(1, HOUR), Immediate, New,
        "Milliseconds between checkpoints of a backend.";
    drain_timeout: Duration = "10", seconds(0, HOUR), NeedsRestart, New,
        "Seconds that what is in flight has to finish on SIGTERM.";
    connect_timeout: Duration = "1", seconds(1, HOUR), NeedsRestart, New,
        "Seconds for a connection to a backend.";
    response_timeout: Duration = "5", seconds(1, HOUR), NeedsRestart, New,
        "Seconds for a backend's answer.";
    idle_timeout: Duration = "60", seconds(1000, DAY), Immediate, New,
        "Seconds after which a connection to a backend that nothing is sent on is closed. The next \
         record makes another.";
    keepalive_interval: Duration = "15", seconds(1000, HOUR), Immediate, New,
        "Seconds after which TCP asks for a sign of life on a connection to a backend that is \
         idle, and between two such.";
    engine: EngineName = "\"auto\"", Kind::Word(EngineName::WORDS), NeedsRestart, New,
        "What workers wait for their connections with. auto takes io_uring where the kernel has \
         all that it needs (Linux 6.1), else mio (epoll); io_uring itself is an error where it \
         can't be had.";
    pin_workers: bool = "true", Kind::Boolean, NeedsRestart, New,
        "Keep each worker on a core of its own. Off where there are fewer cores than workers.";
    rejected_max_bytes: u64 = "\"1GiB\"", size(4096, 1 << 50), NeedsRestart, New,
        "Bytes of a backend's rejected.jsonl.";
    rescan_interval: Duration = "30", seconds(1, DAY), Immediate, New,
        "Seconds between looks at all folders, in case a notification was lost.";
    reconcile: ReconcileMode = "\"off\"", Kind::Word(ReconcileMode::WORDS), Immediate, New,
        "What is done once a log is replayed: nothing; its keys are compared with those of the \
         other master, which HA's table names, and what differs is reported; or it is repaired \
         where the masters show which of them is right.";
    reconcile_values: bool = "false", Kind::Boolean, Immediate, New,
        "Compare the values of keys and hashes too, where the versions are equal.";
    reconcile_value_bytes_max: usize = "\"1MiB\"", size(0, VALUE_BYTES_MAX as u64), Immediate, New,
        "Bytes above which a value is not compared.";
    reconcile_rate: u32 = "20000", count(0, 100_000_000), Immediate, New,
        "Requests a second to each master, for each backend that is compared: a master that is the \
         other one of three backends gets up to three times as many. 0 is no bound.";
    reconcile_deletes: bool = "false", Kind::Boolean, Immediate, New,
        "Delete from the backend what the other master lacks, and from the other master what it \
         was given and the backend has lost since. Right only with one HA host, or with all of \
         them quiet: otherwise a log that has not come yet may hold the write. Of one comparison \
         at most 8 keys, and one more for every four that the other master has.";
    reconcile_attempts: u32 = "5", count(1, 1000), Immediate, New,
        "Mends tried on a key before it is reported as still different. A look that finds it \
         changed since the last one counts as one.";
    reconcile_delay: Duration = "45", seconds(0, HOUR), Immediate, New,
        "Seconds for which a master has to be up before keys are compared with it: longer than \
         hustdb's db.ttl.scan_interval, as its first look for what has expired may remove keys.";
    reconcile_timeout: Duration = "900", seconds(1000, DAY), Immediate, New,
        "Seconds for which a log is kept while the other master can't be asked. Then it goes. \
         Those of its keys that were known to differ are listed, the others are counted as not \
         compared.";
    log_level: LogLevel = "\"info\"", Kind::Word(LogLevel::WORDS), Immediate, New,
        "How much is logged. The environment variable RUST_LOG goes before it.";
    log_format: LogFormat = "\"text\"", Kind::Word(LogFormat::WORDS), NeedsRestart, New,
        "What a line of the log looks like: text for people (under systemd, fields of the \
         journal), or a JSON object a line.";
}

impl SyncSettings {
    /// How keys are compared: `reconcile` and the settings beside it.
    #[must_use]
    pub fn reconcile_settings(&self) -> ReconcileSettings {
        ReconcileSettings {
            mode: self.reconcile,
            values: self.reconcile_values,
            value_bytes_max: self.reconcile_value_bytes_max,
            rate: self.reconcile_rate,
            deletes: match self.reconcile_deletes {
                true => Deletes::Bounded,
                false => Deletes::Never,
            },
            attempts: self.reconcile_attempts,
            delay: self.reconcile_delay,
            timeout: self.reconcile_timeout,
        }
    }
}
