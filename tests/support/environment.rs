//! What a run is told by the environment.

use std::env;
use std::fmt::Display;
use std::str::FromStr;

/// A number in the environment; fails where it is none.
pub(crate) fn number<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|fault| panic!("{name}={text:?}: {fault}")),
    )
}
