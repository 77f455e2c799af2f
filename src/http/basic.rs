//! Basic authentication (RFC 7617): who may ask.
//!
//! The expected credentials are kept in the form in which they arrive, so that a check decodes
//! nothing, allocates nothing and takes the same time whatever byte is wrong. Only their length can
//! be timed.

use subtle::ConstantTimeEq;

/// A user and a password, and whether an `Authorization` field carries them.
#[derive(Clone)]
pub struct Credentials {
    /// base64 of `user:password`.
    token: String,
}

impl Credentials {
    /// Credentials for `user` and `password`.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        Self {
            token: base64_simd::STANDARD.encode_to_string(format!("{user}:{password}")),
        }
    }

    /// The value of the `Authorization` field that carries them. A secret: never log it.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Basic {}", self.token)
    }

    /// Whether `authorization`, the value of that field, carries these credentials.
    #[must_use]
    pub(crate) fn admit(&self, authorization: Option<&[u8]>) -> bool {
        let Some((scheme, token)) = authorization.and_then(|value| value.split_at_checked(5))
        else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"basic") || !token.starts_with(b" ") {
            return false;
        }
        token.trim_ascii().ct_eq(self.token.as_bytes()).into()
    }
}

/// The secret stays out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(authorization: Option<&str>, expected: bool) {
        let credentials = Credentials::new("sync", "sync");
        assert_eq!(
            credentials.admit(authorization.map(str::as_bytes)),
            expected,
            "{authorization:?}"
        );
    }

    #[test]
    fn the_right_credentials_are_admitted_in_any_case_of_the_scheme() {
        check(Some("Basic c3luYzpzeW5j"), true);
        check(Some("basic c3luYzpzeW5j"), true);
        check(Some("BASIC   c3luYzpzeW5j"), true);
    }

    #[test]
    fn anything_else_is_not_admitted() {
        check(None, false);
        check(Some(""), false);
        check(Some("Basic"), false);
        check(Some("Basic "), false);
        check(Some("Basicc3luYzpzeW5j"), false);
        check(Some("Bearer c3luYzpzeW5j"), false);
        check(Some("Basic c3luYzpzeW5jMg=="), false);
        check(Some("Basic c3luYzpzeW5"), false);
        check(Some("Basic c3luYzpzeW5k"), false);
        check(Some("Basic sync:sync"), false);
        check(Some("Basic c3luYzpzeW5j c3luYzpzeW5j"), false);
    }

    #[test]
    fn a_password_may_hold_a_colon_and_more_than_ascii() {
        let credentials = Credentials::new("sync", "a:ü");
        assert!(credentials.admit(Some(credentials.authorization().as_bytes())));
        assert!(
            !Credentials::new("sync:a", "u").admit(Some(credentials.authorization().as_bytes()))
        );
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        assert!(!format!("{:?}", Credentials::new("sync", "hidden")).contains("aGlkZGVu"));
        assert_eq!(
            format!("{:?}", Credentials::new("sync", "hidden")),
            "Credentials(…)"
        );
    }
}
