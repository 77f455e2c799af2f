//! How we authenticate to the backends: the first line of `sync.auth_path`, `user:password` in
//! plain text.
//!
//! Kept as octets: what stands in the file goes to the backend as it is, whatever its encoding.

use std::fmt;

/// Most bytes of the line. It goes into every request's head, which a backend takes only up to
/// 4,096 bytes.
const LINE_BYTES_MAX: usize = 512;

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `user:password`: has a colon, after one byte at least, and no control characters.
    credentials: Vec<u8>,
}

/// Why there is no login in the file. Messages never repeat the line, which may be a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// No first line.
    #[error("its first line is empty; write user:password there")]
    Empty,
    /// No colon.
    #[error("its first line has no colon; write user:password there")]
    NoColon,
    /// Nothing before the colon.
    #[error("its first line has no user before the colon; write user:password there")]
    NoUser,
    /// Too long.
    #[error(
        "its first line has {0} bytes, which is more than {LINE_BYTES_MAX}; is it the right file?"
    )]
    TooLong(usize),
    /// A control character, NUL for instance.
    #[error("its first line has the control character {0:#04x} at byte {1}; is it the right file?")]
    Control(u8, usize),
}

impl Login {
    /// Parses the file's bytes; only the first line counts.
    ///
    /// # Errors
    /// That line is no `user:password`.
    pub fn parse(file: &[u8]) -> Result<Self, LoginError> {
        let line = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return Err(LoginError::Empty);
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(LoginError::TooLong(line.len()));
        }
        if let Some(place) = line.iter().position(u8::is_ascii_control) {
            return Err(LoginError::Control(line[place], place));
        }
        match line.iter().position(|byte| *byte == b':') {
            None => Err(LoginError::NoColon),
            Some(0) => Err(LoginError::NoUser),
            Some(_) => Ok(Self {
                credentials: line.to_vec(),
            }),
        }
    }

    /// `user:password`, the octets that basic authentication encodes.
    #[must_use]
    pub fn credentials(&self) -> &[u8] {
        &self.credentials
    }

    /// The user, for messages.
    #[must_use]
    pub fn user(&self) -> String {
        let user = self
            .credentials
            .split(|byte| *byte == b':')
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(user).into_owned()
    }

    /// Whether the password has the form of a hash, as the `htpasswd` command writes it. A backend
    /// takes plain text only, so this is most likely a mistake; it is to be said, not refused.
    #[must_use]
    pub(crate) fn looks_hashed(&self) -> bool {
        let password = self
            .credentials
            .splitn(2, |byte| *byte == b':')
            .nth(1)
            .unwrap_or_default();
        [
            "$apr1$", "$2y$", "$2a$", "$2b$", "$1$", "$5$", "$6$", "{SHA}", "{SSHA}",
        ]
        .iter()
        .any(|mark| password.starts_with(mark.as_bytes()))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}:***)", self.user())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &[u8], expected: Result<&[u8], LoginError>) {
        assert_eq!(
            Login::parse(file).map(|login| login.credentials().to_vec()),
            expected.map(<[u8]>::to_vec),
            "{file:?}"
        );
    }

    #[test]
    fn the_first_line_is_the_login_whatever_follows() {
        check(b"huststore:huststore", Ok(b"huststore:huststore"));
        check(b"u:p\nother:line\n", Ok(b"u:p"));
        check(b"u:p\r\n", Ok(b"u:p"));
        check(b"u:p:with:colons", Ok(b"u:p:with:colons"));
        check(b"u:", Ok(b"u:"));
        check(b"u:\xE4 \n", Ok(b"u:\xE4 "));
    }

    #[test]
    fn what_is_no_login_says_why() {
        check(b"", Err(LoginError::Empty));
        check(b"\nu:p", Err(LoginError::Empty));
        check(b" \r\n", Err(LoginError::Empty));
        check(b"user", Err(LoginError::NoColon));
        check(b":p", Err(LoginError::NoUser));
        check(b"u:\0p", Err(LoginError::Control(0, 2)));
        check(&[b'a'; 513], Err(LoginError::TooLong(513)));
    }

    #[test]
    fn the_password_is_not_printed() {
        let login = Login::parse(b"u:s3cret").unwrap();
        assert_eq!(format!("{login:?}"), "Login(u:***)");
        assert_eq!(login.user(), "u");
    }

    #[test]
    fn a_hash_is_recognised() {
        assert!(Login::parse(b"u:$apr1$aaaa$bbbb").unwrap().looks_hashed());
        assert!(!Login::parse(b"$apr1$:plain").unwrap().looks_hashed());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(file: Vec<u8>) {
            if let Ok(login) = Login::parse(&file) {
                let _ = (login.user(), login.looks_hashed());
                proptest::prop_assert!(login.credentials().contains(&b':'));
            }
        }
    }
}
