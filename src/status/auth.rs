//! Who may ask for what: two users, the names that this server is called by, and the token that
//! its own page shows.
//!
//! A browser adds a user's password to whatever any page asks this server for. So a request that
//! changes something and comes from a page is taken only from our own page (its `Origin` is the
//! `Host` that it asks) that has the token of `GET /v1/session`, which no other page can read; and
//! nothing but what HA and Prometheus ask for is told to who calls this server by a name that it
//! does not have.

use subtle::ConstantTimeEq;

use crate::http::answer::{Answer, Status};
use crate::http::basic::Credentials;
use crate::http::host::{HostNames, is_same_origin};
use crate::http::request::{Method, Request};

/// What a 401 tells about who is to authenticate.
pub(super) const CHALLENGE: &str = "Basic realm=\"hustdbsync\"";

/// What is said to who calls this server by another's name.
const MISDIRECTED: &[u8] =
    b"this server has no such name; if you mean it, add the name to network.host_names\n";

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// See everything.
    Looks,
    /// See everything, and act.
    Controls,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Auth {
    user: String,
    credentials: Credentials,
    viewer: Option<Credentials>,
    hosts: HostNames,
    /// The token; without one no page may act.
    token: Option<String>,
    /// What `GET /v1/session` tells who may control.
    session: String,
}

impl Auth {
    /// For `network.user` and `network.passwd`. No other user, no page that may act, and no name
    /// with a dot but addresses.
    #[must_use]
    pub fn new(user: &str, passwd: &str) -> Self {
        Self {
            user: user.to_owned(),
            credentials: Credentials::new(user, passwd),
            viewer: None,
            hosts: HostNames::default(),
            token: None,
            session: session(None),
        }
    }

    /// With a user who may look only.
    #[must_use]
    pub fn with_viewer(self, user: &str, password: &str) -> Self {
        Self {
            viewer: Some(Credentials::new(user, password)),
            ..self
        }
    }

    /// With the names that this server is called by.
    #[must_use]
    pub fn with_hosts(self, hosts: HostNames) -> Self {
        Self { hosts, ..self }
    }

    /// With the token that lets the page act: hexadecimal digits that nobody can guess.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self {
            session: session(token.as_deref()),
            token,
            ..self
        }
    }

    /// Who may control.
    #[must_use]
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// What the user who asks may do; `None` without credentials.
    pub(super) fn role(&self, request: &Request<'_>) -> Option<Role> {
        let is = |credentials: &Credentials| credentials.admit(request.authorization);
        // Both are looked at, so that nothing can be timed.
        let looks = self.viewer.as_ref().is_some_and(is);
        match is(&self.credentials) {
            true => Some(Role::Controls),
            false => looks.then_some(Role::Looks),
        }
    }

    /// Whether this request has credentials of anyone's.
    #[must_use]
    pub(crate) fn admits(&self, request: &Request<'_>) -> bool {
        self.role(request).is_some()
    }

    /// Refuses those who call this server by a name that it does not have.
    pub(super) fn misdirected(&self, request: &Request<'_>) -> Option<Answer<'static>> {
        (!self.hosts.has(request.host)).then(|| Answer::text(Status::Misdirected, MISDIRECTED))
    }

    /// Refuses those without credentials.
    pub(super) fn unauthorized(&self, request: &Request<'_>) -> Option<Answer<'static>> {
        (!self.admits(request)).then(|| {
            Answer::empty(Status::Unauthorized).with_fields(&[("WWW-Authenticate", CHALLENGE)])
        })
    }

    /// Refuses those without credentials, then those with another method than GET.
    pub(super) fn refusal(&self, request: &Request<'_>) -> Option<Answer<'static>> {
        if let Some(refusal) = self.unauthorized(request) {
            return Some(refusal);
        }
        (request.method != Method::Get)
            .then(|| Answer::empty(Status::MethodNotAllowed).with_fields(&[("Allow", "GET")]))
    }

    /// Why a request with credentials may not change anything, if so.
    pub(super) fn may_not_act(&self, request: &Request<'_>) -> Option<&'static str> {
        if self.role(request) != Some(Role::Controls) {
            return Some("network.viewer_user may look only; log in as network.user");
        }
        let origin = request.origin?;
        if !is_same_origin(origin, request.host) {
            return Some("a page from elsewhere may not ask for this");
        }
        let is_right = match (&self.token, request.token) {
            (Some(token), Some(sent)) => bool::from(token.as_bytes().ct_eq(sent)),
            _ => false,
        };
        (!is_right).then_some("the page has no token, or that of an earlier process: load it anew")
    }

    /// What `GET /v1/session` tells who asks.
    pub(super) fn session(&self, request: &Request<'_>) -> &str {
        match self.role(request) {
            Some(Role::Controls) => &self.session,
            _ => LOOKS_ONLY,
        }
    }
}

const LOOKS_ONLY: &str = "{\"controls\":false}\n";

fn session(token: Option<&str>) -> String {
    match token {
        Some(token) => format!("{{\"controls\":true,\"token\":\"{token}\"}}\n"),
        None => LOOKS_ONLY.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROLS: Option<&[u8]> = Some(b"Basic c3luYzpzeW5j");
    const VIEWER: Option<&[u8]> = Some(b"Basic dmlld2VyOnY=");

    fn auth() -> Auth {
        Auth::new("sync", "sync")
            .with_viewer("viewer", "v")
            .with_hosts(HostNames::new("db7", &[]))
            .with_token(Some("abc".to_owned()))
    }

    fn request(authorization: Option<&'static [u8]>) -> Request<'static> {
        Request {
            authorization,
            host: Some(b"db7:8089"),
            ..Request::plain(Method::Post, "/v1/control/pause", None)
        }
    }

    #[test]
    fn each_user_has_a_role() {
        let role = |authorization| auth().role(&request(authorization));
        assert_eq!(role(CONTROLS), Some(Role::Controls));
        assert_eq!(role(VIEWER), Some(Role::Looks));
        for wrong in [None, Some(&b"Basic dmlld2VyOnN5bmM="[..]), Some(b"Basic ")] {
            assert_eq!(role(wrong), None);
        }
        let alone = Auth::new("sync", "sync");
        assert_eq!(alone.role(&request(VIEWER)), None);
        assert_eq!(alone.role(&request(Some(b"Basic Og=="))), None);
    }

    #[test]
    fn only_who_controls_may_act_and_of_pages_only_ours_with_its_token() {
        let refused = |request: &Request<'_>, why: &str| {
            let refusal = auth().may_not_act(request);
            assert!(
                refusal.is_some_and(|refusal| refusal.contains(why)),
                "{refusal:?}"
            );
        };
        assert_eq!(auth().may_not_act(&request(CONTROLS)), None, "a command");
        refused(&request(VIEWER), "look only");
        refused(&request(None), "look only");
        let of = |origin: &'static str, token: Option<&'static str>| Request {
            origin: Some(origin.as_bytes()),
            token: token.map(str::as_bytes),
            ..request(CONTROLS)
        };
        let ours = "http://db7:8089";
        assert_eq!(auth().may_not_act(&of(ours, Some("abc"))), None);
        for token in [None, Some(""), Some("ab"), Some("abcd"), Some("abd")] {
            refused(&of(ours, token), "token");
        }
        for origin in ["null", "http://evil.example", "http://db7:8088", ""] {
            refused(&of(origin, Some("abc")), "from elsewhere");
        }
        let viewer = Request {
            authorization: VIEWER,
            ..of(ours, Some("abc"))
        };
        refused(&viewer, "look only");
        let without = auth().with_token(None);
        assert!(without.may_not_act(&of(ours, Some(""))).is_some());
        assert!(without.may_not_act(&of(ours, None)).is_some());
    }

    #[test]
    fn the_token_is_told_to_who_controls_only() {
        let session = |auth: &Auth, authorization| auth.session(&request(authorization)).to_owned();
        assert_eq!(
            session(&auth(), CONTROLS),
            "{\"controls\":true,\"token\":\"abc\"}\n"
        );
        assert_eq!(session(&auth(), VIEWER), "{\"controls\":false}\n");
        assert_eq!(session(&auth().with_token(None), CONTROLS), LOOKS_ONLY);
    }

    #[test]
    fn who_uses_another_name_is_refused() {
        let named = |host: Option<&'static [u8]>| Request {
            host,
            ..request(CONTROLS)
        };
        assert_eq!(auth().misdirected(&named(None)), None);
        assert_eq!(auth().misdirected(&named(Some(b"db7"))), None);
        let refusal = auth().misdirected(&named(Some(b"evil.example"))).unwrap();
        assert_eq!(refusal.status, Status::Misdirected);
    }
}
