//! Every path that the server answers.
//!
//! What is read is answered at once ([`super::answer`]); what changes something or is answered
//! later is left for the controller ([`super::control_request`]). Any other path is answered 404.

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Something to read.
    Read(Page),
    /// `/sync_point`
    SyncPoint,
    /// `/v1/control/…`; `None` where it goes on with a word that nobody knows.
    Control(Option<ControlVerb>),
    /// `/v1/logs`
    ListLogs,
    /// `/v1/rejected`
    ListRejected,
    /// `/v1/rejected/…`, likewise.
    Rejected(Option<RejectedVerb>),
}

/// What can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Whether the process is alive, as HA asks.
    Alive,
    /// The state of each backend, as HA knows it.
    SyncStatus,
    /// The report ([`super::report`]).
    Report,
    /// The last hour ([`super::history`]).
    History,
    /// [`super::metrics`]
    Metrics,
    /// The page for people ([`super::page`]).
    Home,
    /// The operator's guide ([`super::guide`]).
    Guide,
    /// What who asks may do ([`super::auth`]).
    Session,
    /// Whether every thread is at work ([`super::health`]).
    Health,
    /// Whether records can be taken ([`super::health`]).
    Readiness,
}

impl Page {
    /// Whether people and their scripts ask for it, and not HA or a monitoring system, which may
    /// call the server by any name.
    #[must_use]
    pub(super) fn is_for_people(self) -> bool {
        match self {
            Self::Home | Self::Guide | Self::Session | Self::Report | Self::History => true,
            Self::Alive | Self::SyncStatus | Self::Metrics | Self::Health | Self::Readiness => {
                false
            }
        }
    }

    /// Whether it is told without credentials, and has its own rule for methods.
    #[must_use]
    pub(super) fn is_for_anyone(self) -> bool {
        matches!(self, Self::Alive | Self::Health | Self::Readiness)
    }
}

/// What the server can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlVerb {
    /// To stop replaying to a backend.
    Pause,
    /// To go on.
    Resume,
    /// To take another rate.
    Rate,
    /// To probe a backend.
    Probe,
    /// To forget a backend.
    Forget,
    /// To begin its log file anew.
    Rotate,
    /// To finish what is in flight and end.
    Drain,
}

const ROUTES: [(&str, Route); 13] = [
    ("/status.html", Route::Read(Page::Alive)),
    ("/sync_status", Route::Read(Page::SyncStatus)),
    ("/v1/status", Route::Read(Page::Report)),
    ("/v1/history", Route::Read(Page::History)),
    ("/metrics", Route::Read(Page::Metrics)),
    ("/", Route::Read(Page::Home)),
    ("/v1/session", Route::Read(Page::Session)),
    ("/guide", Route::Read(Page::Guide)),
    ("/healthz", Route::Read(Page::Health)),
    ("/readyz", Route::Read(Page::Readiness)),
    ("/sync_point", Route::SyncPoint),
    ("/v1/logs", Route::ListLogs),
    ("/v1/rejected", Route::ListRejected),
];

/// What follows `/v1/control/`. Told in this order to who asks for a wrong one.
const CONTROL: [(&str, ControlVerb); 7] = [
    ("pause", ControlVerb::Pause),
    ("resume", ControlVerb::Resume),
    ("rate", ControlVerb::Rate),
    ("probe", ControlVerb::Probe),
    ("forget", ControlVerb::Forget),
    ("rotate", ControlVerb::Rotate),
    ("drain", ControlVerb::Drain),
];

/// The same of `/v1/rejected/`.
const REJECTED: [(&str, RejectedVerb); 2] = [
    ("replay", RejectedVerb::Replay),
    ("drop", RejectedVerb::Drop),
];

impl Route {
    /// The route of a path.
    #[must_use]
    pub fn of(path: &[u8]) -> Option<Self> {
        if let Some(word) = path.strip_prefix(b"/v1/control/") {
            return Some(Self::Control(find(&CONTROL, word)));
        }
        if let Some(word) = path.strip_prefix(b"/v1/rejected/") {
            return Some(Self::Rejected(find(&REJECTED, word)));
        }
        find(&ROUTES, path)
    }
}

fn find<T: Copy>(table: &[(&str, T)], name: &[u8]) -> Option<T> {
    let mut known = table.iter();
    let known = known.find(|(known, _)| known.as_bytes() == name);
    known.map(|(_, value)| *value)
}

/// A sentence that names what there is below `/v1/control/`.
pub(super) fn control_words() -> String {
    words(&CONTROL.map(|(word, _)| word))
}

/// The same of `/v1/rejected/`.
pub(super) fn rejected_words() -> String {
    words(&REJECTED.map(|(word, _)| word))
}

fn words(words: &[&str]) -> String {
    let (last, others) = words.split_last().expect("there are several");
    format!("there is {} and {last}", others.join(", "))
}

/// What is to be done with lines that were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedVerb {
    /// They are given to the reader again, as a log of their own.
    Replay,
    /// They are thrown away.
    Drop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_route_and_each_route_one_path() {
        let control = CONTROL.map(|(word, verb)| {
            let path = format!("/v1/control/{word}");
            (path, Route::Control(Some(verb)))
        });
        let rejected = REJECTED.map(|(word, verb)| {
            let path = format!("/v1/rejected/{word}");
            (path, Route::Rejected(Some(verb)))
        });
        let routes = ROUTES.map(|(path, route)| (path.to_owned(), route));
        let all = [&routes[..], &control[..], &rejected[..]].concat();
        for (at, (path, route)) in all.iter().enumerate() {
            assert_eq!(Route::of(path.as_bytes()), Some(*route), "{path}");
            let others = &all[at + 1..];
            assert!(others.iter().all(|(_, other)| other != route), "{path}");
        }
    }

    #[test]
    fn a_wrong_word_is_told_which_there_are() {
        assert_eq!(Route::of(b"/v1/control/paus"), Some(Route::Control(None)));
        assert_eq!(Route::of(b"/v1/rejected/"), Some(Route::Rejected(None)));
        for path in ["", "/v1/control", "/v1/", "/sync_point/", "//"] {
            assert_eq!(Route::of(path.as_bytes()), None, "{path}");
        }
        let words = "there is pause, resume, rate, probe, forget, rotate and drain";
        assert_eq!(control_words(), words);
        assert_eq!(rejected_words(), "there is replay and drop");
    }
}
