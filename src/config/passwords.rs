//! Passwords that stand elsewhere than in the configuration: in a file of their own, or in the
//! environment. A file goes before the environment, and that before the setting.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use super::Config;
use super::document::read_bounded;
use super::error::ConfigError;
use super::secret::Secret;
use super::settings::NetworkSettings;
use super::value;

/// Environment variables, with the settings that they stand for.
const PASSWD: (&str, &str) = ("network.passwd", "HUSTDBSYNC_PASSWD");
const VIEWER_PASSWORD: (&str, &str) = ("network.viewer_password", "HUSTDBSYNC_VIEWER_PASSWORD");

/// Most bytes of a file with a password.
const FILE_BYTES_MAX: usize = 4096;

const NO_TEXT: &str = "is no text in UTF-8";

/// A setting whose value is that of an environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromEnvironment {
    setting: &'static str,
    variable: &'static str,
}

impl fmt::Display for FromEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is the variable {}'s", self.setting, self.variable)
    }
}

impl Config {
    /// The files that a password of the HTTP server stands in, each with the setting that says so.
    pub(crate) fn password_files(&self) -> impl Iterator<Item = (String, &Path)> {
        let network = &self.network;
        let is_secret = !network.passwd.expose().is_empty() && !network.has_default_login();
        let is_viewers = !network.viewer_password.expose().is_empty();
        let all = [
            (PASSWD, &network.passwd_file, is_secret),
            (VIEWER_PASSWORD, &network.viewer_password_file, is_viewers),
        ];
        all.into_iter().filter_map(|((setting, _), file, is_set)| {
            let mut environment = self.from_environment.iter();
            match file {
                Some(file) => Some((format!("{setting}_file"), file.as_path())),
                None if environment.any(|it| it.setting == setting) => None,
                None => is_set.then(|| (setting.to_owned(), self.path.as_path())),
            }
        })
    }
}

/// Takes the passwords from where they stand. `variable` reads the environment. Returns those that
/// are the environment's.
pub(super) fn resolve(
    network: &mut NetworkSettings,
    variable: impl Fn(&str) -> Option<OsString>,
    faults: &mut Vec<ConfigError>,
) -> Vec<FromEnvironment> {
    let mut from_environment = Vec::new();
    for ((setting, name), file, password) in [
        (PASSWD, &network.passwd_file, &mut network.passwd),
        (
            VIEWER_PASSWORD,
            &network.viewer_password_file,
            &mut network.viewer_password,
        ),
    ] {
        let (found, setting, value) = match (file, variable(name)) {
            (Some(file), _) => (
                in_file(file),
                format!("{setting}_file"),
                format!("{file:?}"),
            ),
            (None, Some(text)) => {
                from_environment.push(FromEnvironment {
                    setting,
                    variable: name,
                });
                let found = text.to_str().ok_or_else(|| NO_TEXT.to_owned());
                (
                    found.and_then(of),
                    setting.to_owned(),
                    format!("the variable {name}"),
                )
            }
            (None, None) => continue,
        };
        match found {
            Ok(found) => *password = found,
            Err(reason) => faults.push(ConfigError::Setting {
                setting,
                value,
                reason,
                advice: "its first line is to be the password".to_owned(),
            }),
        }
    }
    from_environment
}

fn in_file(path: &Path) -> Result<Secret, String> {
    let bytes = read_bounded(path).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("has more than {FILE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| NO_TEXT.to_owned())?;
    let line = text.split('\n').next().unwrap_or_default();
    of(line.strip_suffix('\r').unwrap_or(line))
}

fn of(text: &str) -> Result<Secret, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    value::without_control(text)?;
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// The passwords of both users, or what is wrong.
    fn passwords(
        settings: &str,
        variables: &[(&str, &str)],
    ) -> Result<(String, String), Vec<String>> {
        let mut config = Config::parse(settings, Path::new("c")).unwrap();
        let mut faults = Vec::new();
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, text)| OsString::from(*text))
        };
        let told = resolve(&mut config.network, variable, &mut faults);
        let is_in_file = config.network.passwd_file.is_some();
        assert_eq!(told.len(), if is_in_file { 0 } else { variables.len() });
        if !faults.is_empty() {
            return Err(faults.iter().map(ToString::to_string).collect());
        }
        let network = &config.network;
        Ok((
            network.passwd.expose().to_owned(),
            network.viewer_password.expose().to_owned(),
        ))
    }

    #[test]
    fn a_file_goes_before_the_environment_and_that_before_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "of a file\r\nsecond line\n").unwrap();
        let in_file = format!(
            r#"{{"network": {{"passwd": "a", "passwd_file": {file:?}, "viewer_user": "v",
                "viewer_password_file": {file:?}}}}}"#
        );
        let set = r#"{"network": {"passwd": "a", "viewer_user": "v", "viewer_password": "b"}}"#;
        let variables = [
            ("HUSTDBSYNC_PASSWD", "c"),
            ("HUSTDBSYNC_VIEWER_PASSWORD", "d"),
        ];
        let both = |one: &str, other: &str| Ok((one.to_owned(), other.to_owned()));
        assert_eq!(passwords(set, &[]), both("a", "b"));
        assert_eq!(passwords(set, &variables[..1]), both("c", "b"));
        assert_eq!(passwords(set, &variables), both("c", "d"));
        assert_eq!(
            passwords(&in_file, &variables),
            both("of a file", "of a file")
        );
    }

    #[test]
    fn what_is_no_password_is_said_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let settings = format!(r#"{{"network": {{"passwd_file": {file:?}}}}}"#);
        let check = |content: Option<&[u8]>, reason: &str| {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let faults = passwords(&settings, &[]).unwrap_err();
            assert_eq!(faults.len(), 1);
            let begin = format!("network.passwd_file: {file:?} {reason}");
            assert!(faults[0].starts_with(&begin), "{faults:?}");
            assert!(!faults[0].contains("s3cret"), "{faults:?}");
        };
        check(None, "cannot be read: No such file");
        check(Some(b""), "is empty");
        check(Some(b"\ns3cret"), "is empty");
        check(Some(b"s3cret\xff"), "is no text");
        check(Some(b"s3cret\0"), "has a control character");
        check(Some(&[b'a'; FILE_BYTES_MAX + 1]), "has more than 4096");
        let faults = passwords("{}", &[("HUSTDBSYNC_PASSWD", "s3\u{7}cret")]).unwrap_err();
        assert_eq!(
            faults,
            [
                "network.passwd: the variable HUSTDBSYNC_PASSWD has a control character; its first \
                 line is to be the password"
            ]
        );
    }
}
