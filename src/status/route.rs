//! Every path that the server answers, in one table.
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

const CONTROL: &str = "/v1/control/";
const REJECTED: &str = "/v1/rejected/";

/// The table. Those that share a prefix are told to whom asks for a wrong one, in this order.
const ROUTES: [(&str, Route); 22] = [
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
    (
        "/v1/control/pause",
        Route::Control(Some(ControlVerb::Pause)),
    ),
    (
        "/v1/control/resume",
        Route::Control(Some(ControlVerb::Resume)),
    ),
    ("/v1/control/rate", Route::Control(Some(ControlVerb::Rate))),
    (
        "/v1/control/probe",
        Route::Control(Some(ControlVerb::Probe)),
    ),
    (
        "/v1/control/forget",
        Route::Control(Some(ControlVerb::Forget)),
    ),
    (
        "/v1/control/rotate",
        Route::Control(Some(ControlVerb::Rotate)),
    ),
    (
        "/v1/control/drain",
        Route::Control(Some(ControlVerb::Drain)),
    ),
    ("/v1/logs", Route::ListLogs),
    ("/v1/rejected", Route::ListRejected),
    (
        "/v1/rejected/replay",
        Route::Rejected(Some(RejectedVerb::Replay)),
    ),
    (
        "/v1/rejected/drop",
        Route::Rejected(Some(RejectedVerb::Drop)),
    ),
];

impl Route {
    /// The route of a path.
    #[must_use]
    pub fn of(path: &[u8]) -> Option<Self> {
        let known = ROUTES.iter().find(|(known, _)| known.as_bytes() == path);
        match known {
            Some((_, route)) => Some(*route),
            None if path.starts_with(CONTROL.as_bytes()) => Some(Self::Control(None)),
            None if path.starts_with(REJECTED.as_bytes()) => Some(Self::Rejected(None)),
            None => None,
        }
    }
}

/// A sentence that names what there is below `/v1/control/`.
pub(super) fn control_words() -> String {
    words_below(CONTROL)
}

/// The same of `/v1/rejected/`.
pub(super) fn rejected_words() -> String {
    words_below(REJECTED)
}

fn words_below(prefix: &str) -> String {
    let words: Vec<&str> = ROUTES
        .iter()
        .filter_map(|(path, _)| path.strip_prefix(prefix))
        .collect();
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => {
            format!("there is {} and {last}", others.join(", "))
        }
        _ => format!("there is {}", words.join("")),
    }
}

/// What is to be done with lines that were rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedVerb {
    Replay,
    /// They are thrown away.
    Drop,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_route_and_each_route_one_path() {
        for (at, (path, route)) in ROUTES.iter().enumerate() {
            assert_eq!(Route::of(path.as_bytes()), Some(*route), "{path}");
            let others = &ROUTES[at + 1..];
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
