//! Which call fails how, and what is expected of the server then.

use libc::{
    EACCES, EADDRNOTAVAIL, EAGAIN, EBUSY, ECONNABORTED, ECONNREFUSED, ECONNRESET, EINTR, EINVAL,
    EIO, EMFILE, ENETUNREACH, ENOBUFS, ENOMEM, ENOSPC, ENOTCONN, EOPNOTSUPP, EPIPE, EROFS,
    ETIMEDOUT,
};

/// No error: the call does half of what it was asked for.
pub(crate) const PART: i32 = 0;

/// How long a fault lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// So many calls.
    Times(i32),
    /// Some seconds.
    Sticky,
}

/// What the test does meanwhile so that the call is made at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stir {
    Nothing,
    /// The backend is restarted again and again, so that there are new connections.
    Reconnect,
    /// Somebody asks at the HTTP server.
    HttpServer,
    /// The fault is there when the process starts.
    Start,
    /// This too, and state is there that does not read back whole: a checkpoint that is none, and
    /// half a rejected line.
    TornState,
    /// Values so large that they are sent from where they were read.
    LargeValues,
}

impl Stir {
    /// Whether the fault is there when the process starts.
    pub(crate) fn is_at_start(self) -> bool {
        matches!(self, Self::Start | Self::TornState)
    }
}

/// What a sticky fault must leave in the log, in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// Nothing: nothing is wrong, or the kernel never does this.
    Nothing,
    /// The backend (whose name is in every path of its own too), and the error's number as Rust
    /// writes it.
    Cause,
    /// This and the backend.
    Words(&'static str),
    /// The error's number and this.
    CauseAnd(&'static str),
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) call: &'static str,
    /// What the call is about has this in its name.
    pub(crate) about: &'static str,
    pub(crate) error: i32,
    pub(crate) lasts: Lasts,
    pub(crate) stir: Stir,
    pub(crate) says: Says,
    /// Whether logs may go while it lasts.
    pub(crate) deletes: bool,
}

/// Calls about one thing that fail in the same ways.
struct Row {
    call: &'static str,
    about: &'static str,
    /// These a few times, and sticky.
    both: &'static [i32],
    /// These a few times only: a kernel never goes on with them.
    once: &'static [i32],
    /// These sticky only: the call is made once.
    sticky: &'static [i32],
    stir: Stir,
    says: Says,
    deletes: bool,
}

const LOGS: &str = "/logs";
const LOG: &str = ".log";
const STATE: &str = "/status/";
const SOCKET: &str = "socket:";
/// A lane or a probe that is never answered says so.
const MUTE: Says = Says::Words("within");

const ROW: Row = Row {
    call: "",
    about: "",
    both: &[],
    once: &[],
    sticky: &[],
    stir: Stir::Nothing,
    says: Says::Cause,
    deletes: true,
};

/// State that cannot be written deletes nothing.
const STATE_ROW: Row = Row {
    about: STATE,
    deletes: false,
    ..ROW
};

const SOCKET_ROW: Row = Row {
    about: SOCKET,
    ..ROW
};

const RECONNECT: Row = Row {
    stir: Stir::Reconnect,
    ..SOCKET_ROW
};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // HA's logs.
    Row { call: "opendir", about: LOGS, both: &[EMFILE, EACCES, EIO], says: Says::CauseAnd(LOGS),
        ..ROW },
    Row { call: "readdir64", about: LOGS, both: &[EIO], says: Says::CauseAnd(LOGS), ..ROW },
    Row { call: "open64", about: LOG, both: &[EMFILE, EACCES, EIO], once: &[EINTR],
        deletes: false, ..ROW },
    Row { call: "statx", about: LOG, both: &[EIO, EACCES], deletes: false, ..ROW },
    Row { call: "pread64", about: LOG, both: &[EIO, EAGAIN], once: &[EINTR],
        deletes: false, ..ROW },
    Row { call: "pread64", about: LOG, both: &[PART], says: Says::Nothing, ..ROW },
    Row { call: "preadv2", about: LOG, both: &[EAGAIN, EIO, EOPNOTSUPP], once: &[EINTR],
        says: Says::Nothing, ..ROW },
    Row { call: "unlink", about: LOG, both: &[EACCES, EBUSY, EIO, EROFS], deletes: false, ..ROW },
    Row { call: "fcntl", about: LOG, both: &[EAGAIN], says: Says::Nothing, deletes: false, ..ROW },
    Row { call: "fcntl", about: LOG, both: &[EINVAL], says: Says::Words("cannot tell"), ..ROW },
    Row { call: "fcntl", about: LOG, both: &[EACCES], says: Says::Words("lacks CAP_LEASE"), ..ROW },
    Row { call: "fsync", about: LOGS, both: &[EIO, ENOSPC], ..ROW },
    Row { call: "read", about: "inotify", both: &[EIO], once: &[EINTR, EAGAIN],
        says: Says::Nothing, ..ROW },
    Row { call: "inotify_add_watch", about: LOGS, both: &[ENOSPC, EACCES], stir: Stir::Start,
        says: Says::CauseAnd("cannot watch"), ..ROW },
    Row { call: "inotify_init1", about: "inotify", sticky: &[EMFILE, ENOMEM], stir: Stir::Start,
        says: Says::CauseAnd("inotify"), ..ROW },
    // Our state.
    Row { call: "open64", both: &[ENOSPC, EMFILE, EACCES, EIO, EROFS], once: &[EINTR],
        ..STATE_ROW },
    Row { call: "write", both: &[ENOSPC, EIO], once: &[EINTR], ..STATE_ROW },
    Row { call: "write", both: &[PART], says: Says::Nothing, deletes: true, ..STATE_ROW },
    Row { call: "fsync", both: &[EIO, ENOSPC], once: &[EINTR], ..STATE_ROW },
    Row { call: "rename", both: &[EIO, ENOSPC, EACCES], ..STATE_ROW },
    Row { call: "statx", both: &[EIO], deletes: true, ..STATE_ROW },
    Row { call: "mkdir", both: &[ENOSPC, EACCES, EIO, EROFS], once: &[EINTR], stir: Stir::Start,
        ..STATE_ROW },
    Row { call: "ftruncate64", about: "rejected.jsonl", both: &[EIO, EROFS], once: &[EINTR],
        stir: Stir::TornState, ..STATE_ROW },
    Row { call: "pread64", both: &[EIO], once: &[EINTR, PART], stir: Stir::TornState, ..STATE_ROW },
    // Connections to backends. Of `writev` only some lanes suffer, which each tries again and the
    // log doesn't tell while others are answered.
    Row { call: "send", both: &[EPIPE, ECONNRESET, ENOBUFS], once: &[EINTR], ..SOCKET_ROW },
    Row { call: "send", both: &[EAGAIN], says: MUTE, ..SOCKET_ROW },
    Row { call: "send", both: &[PART], says: Says::Words("part"), ..SOCKET_ROW },
    Row { call: "writev", both: &[EPIPE, EIO], once: &[EINTR, PART, EAGAIN],
        stir: Stir::LargeValues, says: Says::Nothing, ..SOCKET_ROW },
    Row { call: "recv", both: &[ECONNRESET, ETIMEDOUT, EIO], once: &[EINTR], ..SOCKET_ROW },
    Row { call: "recv", both: &[EAGAIN], says: MUTE, ..SOCKET_ROW },
    Row { call: "recv", both: &[PART], says: Says::Nothing, ..SOCKET_ROW },
    Row { call: "socket", both: &[EMFILE, ENOBUFS, ENOMEM], ..RECONNECT },
    Row { call: "connect", both: &[ECONNREFUSED, EADDRNOTAVAIL, ENETUNREACH, EACCES, EAGAIN],
        once: &[EINTR], ..RECONNECT },
    Row { call: "epoll_ctl", both: &[ENOSPC, ENOMEM], ..RECONNECT },
    Row { call: "setsockopt", both: &[EINVAL, ENOMEM], says: Says::Nothing, ..RECONNECT },
    Row { call: "getsockopt", both: &[ENOMEM], ..RECONNECT },
    Row { call: "getpeername", both: &[ENOBUFS], once: &[ENOTCONN], ..RECONNECT },
    // Between our threads: a waker whose counter is full.
    Row { call: "write", about: "eventfd", once: &[EAGAIN], says: Says::Nothing, ..ROW },
    Row { call: "epoll_wait", about: "eventpoll", once: &[EINTR], says: Says::Nothing, ..ROW },
    // The HTTP server.
    Row { call: "accept4", both: &[EMFILE, ENOBUFS], stir: Stir::HttpServer,
        says: Says::CauseAnd("accept"), ..SOCKET_ROW },
    Row { call: "accept4", both: &[ECONNABORTED], once: &[EINTR], stir: Stir::HttpServer,
        says: Says::Nothing, ..SOCKET_ROW },
];

/// How often a fault strikes that is not sticky.
const TIMES: i32 = 3;

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for row in ROWS {
        let case = Case {
            call: row.call,
            about: row.about,
            error: PART,
            lasts: Lasts::Sticky,
            stir: row.stir,
            says: row.says,
            deletes: row.deletes,
        };
        for &error in row.both.iter().chain(row.sticky) {
            cases.push(Case { error, ..case });
        }
        for &error in row.both.iter().chain(row.once) {
            let lasts = Lasts::Times(TIMES);
            cases.push(Case {
                error,
                lasts,
                ..case
            });
        }
    }
    cases
}
