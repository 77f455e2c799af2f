//! What is said again and again is said a few times, then counted.
//!
//! Two lines are the same when they come from one place in the code, speak of one backend and
//! file, and have the same message and the same cause but for their digits. Where a line gives a
//! reason, as those of lines that are rejected do, that counts in place of file and cause: a
//! backlog can be faulty for one reason. Of such lines [`LINES`] are let through in each
//! [`WINDOW`]; others are left out, and how many those were is said when the window is over. Lines
//! of the levels `debug` and `trace` are never left out: whoever asks for them wants all.
//!
//! [`Repeated`] decides and knows no clock; [`Limit`] is the layer that asks it.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one kind in one window.
const LINES: u32 = 5;

/// See [`LINES`].
const WINDOW: Duration = Duration::from_secs(60);

/// Kinds that are told apart. Where there are more, those of one place in the code are one.
const KINDS_MAX: usize = 1024;

/// The summary's own target: it is never left out itself.
const OWN_TARGET: &str = "hustdbsync::repeated";

/// What a line is about, as far as it makes it the same as another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    message: String,
    backend: String,
    file: String,
    reason: String,
    /// The field `cause`, `error` or `why`.
    cause: String,
}

/// Lines that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    level: Level,
    about: About,
    lines: u64,
}

/// Lines of one kind.
#[derive(Debug)]
struct Kind {
    level: Level,
    /// When its window began, on the monotonic clock.
    begun: Duration,
    said: u32,
    left_out: u64,
    about: About,
}

/// The decisions.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    kinds: HashMap<u64, Kind>,
    /// No window ends before this.
    next_end: Duration,
}

impl Repeated {
    /// Whether a line is to be said. `place` is that in the code.
    fn handle(&mut self, place: u64, level: Level, about: About, now: Duration) -> bool {
        let mut hasher = DefaultHasher::new();
        place.hash(&mut hasher);
        let fallback = hasher.finish();
        about.backend.hash(&mut hasher);
        about.reason.hash(&mut hasher);
        if about.reason.is_empty() {
            about.file.hash(&mut hasher);
            hash_but_digits(&about.cause, &mut hasher);
        }
        hash_but_digits(&about.message, &mut hasher);
        let key = hasher.finish();
        let has_room = self.kinds.len() < KINDS_MAX || self.kinds.contains_key(&key);
        let kind = self
            .kinds
            .entry(if has_room { key } else { fallback })
            .or_insert(Kind {
                level,
                begun: now,
                said: 0,
                left_out: 0,
                about,
            });
        if kind.said < LINES {
            kind.said += 1;
            self.next_end = self.next_end.min(kind.begun + WINDOW);
            return true;
        }
        kind.left_out += 1;
        false
    }

    /// What was left out in the windows that are over. To be called before [`Repeated::handle`].
    fn take_over(&mut self, now: Duration) -> Vec<LeftOut> {
        if now < self.next_end {
            return Vec::new();
        }
        let mut over = Vec::new();
        self.kinds.retain(|_, kind| {
            let is_over = now.saturating_sub(kind.begun) >= WINDOW;
            if is_over && kind.left_out > 0 {
                over.push(LeftOut {
                    level: kind.level,
                    about: std::mem::take(&mut kind.about),
                    lines: kind.left_out,
                });
            }
            !is_over
        });
        let ends = self.kinds.values().map(|kind| kind.begun + WINDOW);
        self.next_end = ends.min().unwrap_or(now + WINDOW);
        over
    }
}

fn hash_but_digits(text: &str, hasher: &mut impl Hasher) {
    for part in text.split(|c: char| c.is_ascii_digit()) {
        // Empty parts stand between digits: without them numbers of any length are alike.
        if !part.is_empty() {
            part.hash(hasher);
        }
    }
}

/// The layer. Clones share what they know.
#[derive(Clone)]
pub(super) struct Limit {
    began: Instant,
    repeated: Arc<Mutex<Repeated>>,
}

impl Limit {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            repeated: Arc::default(),
        }
    }

    /// Says what was left out, where its time is over.
    pub(super) fn tell(&self) {
        say(self.with(Repeated::take_over));
    }

    /// Says all that was left out.
    pub(super) fn tell_all(&self) {
        say(self.with(|repeated, now| repeated.take_over(now.saturating_add(WINDOW))));
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Repeated, Duration) -> T) -> T {
        let now = self.began.elapsed();
        ask(
            &mut self.repeated.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }
}

/// To be called without the lock: what is said here asks again.
fn say(over: Vec<LeftOut>) {
    for LeftOut {
        level,
        about,
        lines,
    } in over
    {
        let About {
            message,
            backend,
            file,
            reason,
            cause,
        } = &about;
        let backend = Some(&**backend).filter(|name| !name.is_empty());
        let reason = Some(&**reason).filter(|name| !name.is_empty());
        let file = Some(&**file).filter(|name| !name.is_empty() && reason.is_none());
        let cause = Some(&**cause).filter(|text| !text.is_empty() && reason.is_none());
        macro_rules! tell {
            ($level:ident) => {
                tracing::$level!(
                    target: OWN_TARGET, backend, file, reason, cause, lines,
                    "said so many more times within a minute, and left out: {message}"
                )
            };
        }
        match level {
            Level::ERROR => tell!(error),
            Level::WARN => tell!(warn),
            _ => tell!(info),
        }
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.level() > &Level::INFO || metadata.target() == OWN_TARGET {
            return true;
        }
        self.tell();
        let mut about = About::default();
        event.record(&mut about);
        let mut place = DefaultHasher::new();
        metadata.callsite().hash(&mut place);
        self.with(|repeated, now| repeated.handle(place.finish(), *metadata.level(), about, now))
    }
}

impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "backend" => value.clone_into(&mut self.backend),
            "file" => value.clone_into(&mut self.file),
            "reason" => value.clone_into(&mut self.reason),
            "message" => value.clone_into(&mut self.message),
            "cause" | "error" | "why" => value.clone_into(&mut self.cause),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let into = match field.name() {
            "backend" => &mut self.backend,
            "file" => &mut self.file,
            "reason" => &mut self.reason,
            "message" => &mut self.message,
            "cause" | "error" | "why" => &mut self.cause,
            _ => return,
        };
        into.clear();
        // Writing to a string can't fail.
        let _ = write!(into, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines `(seconds, place, message, backend)`; gives for each whether it was said, and what was
    /// left out before it.
    fn check(lines: &[(u64, u64, &str, &str)], expected: &[(bool, &[(&str, u64)])]) {
        let mut repeated = Repeated::default();
        let told: Vec<(bool, Vec<(String, u64)>)> = lines
            .iter()
            .map(|&(seconds, place, message, backend)| {
                let now = Duration::from_secs(seconds);
                let over = repeated.take_over(now);
                let over = over.into_iter().map(|out| (out.about.message, out.lines));
                let over = over.collect();
                let about = About {
                    message: message.to_owned(),
                    backend: backend.to_owned(),
                    ..About::default()
                };
                (repeated.handle(place, Level::WARN, about, now), over)
            })
            .collect();
        let told: Vec<(bool, Vec<(&str, u64)>)> = told
            .iter()
            .map(|(said, over)| {
                let over = over.iter().map(|(message, lines)| (&**message, *lines));
                (*said, over.collect())
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(said, over)| (*said, over.to_vec()))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn five_are_said_the_rest_is_counted_and_told_after_a_minute() {
        let lines: Vec<_> = (0..9)
            .map(|nth| (nth, 1, "cannot delete", "h:1"))
            .chain([(60, 1, "cannot delete", "h:1")])
            .collect();
        let mut expected: Vec<(bool, &[(&str, u64)])> = vec![(true, &[]); 5];
        expected.extend([(false, &[][..]); 4]);
        expected.push((true, &[("cannot delete", 4)]));
        check(&lines, &expected);
    }

    #[test]
    fn other_backends_other_places_and_other_words_are_other_lines_and_other_numbers_are_not() {
        let mut lines = Vec::new();
        for (place, message, backend) in [
            (1, "a", "h:1"),
            (1, "a", "h:2"),
            (2, "a", "h:1"),
            (1, "b", "h:1"),
        ] {
            lines.extend([(0, place, message, backend); 5]);
        }
        check(&lines, &[(true, &[][..]); 20]);
        let numbered: Vec<String> = (0..12).map(|nth| format!("try {nth} of 12")).collect();
        let lines: Vec<_> = numbered.iter().map(|text| (0, 1, &**text, "h:1")).collect();
        let mut expected = vec![(true, &[][..]); 5];
        expected.extend([(false, &[][..]); 7]);
        check(&lines, &expected);
    }

    #[test]
    fn other_causes_are_other_lines_and_other_numbers_in_them_are_not() {
        let mut repeated = Repeated::default();
        let mut said = |cause: &str| {
            let about = About {
                message: "the configuration can't be read again".to_owned(),
                cause: cause.to_owned(),
                ..About::default()
            };
            repeated.handle(7, Level::ERROR, about, Duration::ZERO)
        };
        assert_eq!((0..9).filter(|_| said("no comma")).count(), 5);
        let numbered = |nth: u32| format!("sync.threads: {nth} is too large");
        assert_eq!((0..9).filter(|nth| said(&numbered(*nth))).count(), 5);
    }

    #[test]
    fn where_there_is_a_reason_log_and_cause_make_no_difference() {
        let mut repeated = Repeated::default();
        let mut said = |file: u32, reason: &str| {
            let about = About {
                file: file.to_string(),
                reason: reason.to_owned(),
                cause: "x".repeat(file as usize),
                ..About::default()
            };
            repeated.handle(7, Level::WARN, about, Duration::ZERO)
        };
        assert_eq!((0..20).filter(|file| said(*file, "not_base64")).count(), 5);
        assert_eq!((0..20).filter(|file| said(*file, "")).count(), 20);
    }

    #[test]
    fn however_many_kinds_there_are_memory_is_bounded() {
        let mut repeated = Repeated::default();
        let mut said = 0;
        for nth in 0..5000_u32 {
            let about = About {
                file: nth.to_string(),
                ..About::default()
            };
            said += u32::from(repeated.handle(7, Level::INFO, about, Duration::ZERO));
        }
        assert_eq!(repeated.kinds.len(), KINDS_MAX + 1);
        assert_eq!(said, u32::try_from(KINDS_MAX).unwrap() + LINES);
        assert_eq!(repeated.take_over(WINDOW).len(), 1);
        assert!(repeated.kinds.is_empty());
    }
}
