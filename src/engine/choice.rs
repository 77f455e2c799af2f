//! Which engine the workers have: what the configuration wants, and what the kernel can do.
//!
//! | wanted | the ring can be had | it can't |
//! |---|---|---|
//! | `auto` | the ring, where it is the faster one | mio, and why |
//! | `mio` | mio | mio |
//! | `io_uring` | the ring | an error that says what is missing |
//!
//! The ring is the faster one (PERFORMANCE.md has the figures) but where a rate is bounded, so that
//! a worker wakes up for each record, and only where the kernel has deferred task work: without it
//! a worker is interrupted for each answer.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::config::EngineName;
use crate::engine::os::eventfd::Eventfd;
use crate::engine::os::ring::Ring;
use crate::engine::os::ring::facts::{Facts, NEEDED, RingFacts};
use crate::engine::os::ring::setup::{Mode, Sizes};

/// Where rings come from: the kernel, or a test.
pub trait Rings: Send + Sync {
    /// What the kernel says of itself.
    fn facts(&self) -> Facts;
    /// A ring with this waker.
    ///
    /// # Errors
    /// What the system says where it gives none.
    fn make(&self, waker: Arc<Eventfd>) -> io::Result<Ring>;
}

/// The kernel's.
pub struct KernelRings;

impl Rings for KernelRings {
    fn facts(&self) -> Facts {
        Facts::of_kernel()
    }

    fn make(&self, waker: Arc<Eventfd>) -> io::Result<Ring> {
        Ring::new(waker, Sizes::default())
    }
}

/// What the workers have, and why, as the rest of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// epoll.
    Mio(String),
    /// A ring each.
    IoUring(String),
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mio(why) => write!(f, "mio (epoll): {why}"),
            Self::IoUring(why) => write!(f, "io_uring: {why}"),
        }
    }
}

/// Why there is no ring: a sentence that says what is missing, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(String);

/// Why the workers can't have what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "sync.engine is io_uring, which can't be had: {0}; or set it to auto, which takes mio then"
)]
pub struct Unavailable(pub Missing);

/// Chooses, for backends that take so many records a second at most (0: any number). The kernel is
/// asked only where it matters.
///
/// # Errors
/// The ring is wanted, and can't be had.
pub fn choose(wanted: EngineName, rate_max: u32, rings: &dyn Rings) -> Result<Choice, Unavailable> {
    if wanted == EngineName::Mio {
        return Ok(Choice::Mio("sync.engine says so".to_owned()));
    }
    if wanted == EngineName::Auto && rate_max > 0 {
        return Ok(Choice::Mio(
            "sync.max_rate_per_backend is set, and with a bounded rate it costs less than io_uring"
                .to_owned(),
        ));
    }
    let facts = rings.facts();
    match (wanted, judge(&facts)) {
        (EngineName::IoUring, Err(missing)) => Err(Unavailable(missing)),
        (_, Err(missing)) => Ok(Choice::Mio(missing.to_string())),
        (EngineName::Auto, Ok(mode)) if mode != Mode::Deferred => Ok(Choice::Mio(format!(
            "this kernel's io_uring has {} only, with which it is no faster; Linux 6.1 has better",
            mode.name()
        ))),
        (EngineName::Auto, Ok(mode)) => Ok(Choice::IoUring(told(&facts, mode))),
        (_, Ok(mode)) => Ok(Choice::IoUring(format!(
            "sync.engine says so; {}",
            told(&facts, mode)
        ))),
    }
}

/// What becomes of the choice of the ring where the kernel then does not give all of them.
///
/// # Errors
/// The ring is wanted.
pub fn give_up(
    wanted: EngineName,
    error: &io::Error,
    facts: &Facts,
) -> Result<Choice, Unavailable> {
    let number = error.raw_os_error().unwrap_or(libc::EIO);
    let missing = no_ring(number, facts);
    if wanted == EngineName::IoUring {
        return Err(Unavailable(missing));
    }
    Ok(Choice::Mio(missing.to_string()))
}

fn told(facts: &Facts, mode: Mode) -> String {
    format!(
        "Linux {} has all of it, with {}",
        facts.release,
        mode.name()
    )
}

/// Whether there can be rings, and of what kind.
fn judge(facts: &Facts) -> Result<Mode, Missing> {
    let ring = facts
        .ring
        .as_ref()
        .map_err(|error| no_ring(*error, facts))?;
    judge_ring(ring, facts)
}

fn judge_ring(ring: &RingFacts, facts: &Facts) -> Result<Mode, Missing> {
    let features = [
        (ring.keeps_completions, "IORING_FEAT_NODROP", "5.5"),
        (ring.waits_for_sockets, "IORING_FEAT_FAST_POLL", "5.7"),
        (ring.waits_with_timeout, "IORING_FEAT_EXT_ARG", "5.11"),
    ];
    if let Some((_, name, since)) = features.into_iter().find(|(is_there, _, _)| !is_there) {
        return Err(lacks(facts, name, since));
    }
    match &ring.operations {
        Err(error) => return Err(lacks_for(facts, "IORING_REGISTER_PROBE", "5.6", *error)),
        Ok(operations) => {
            let missing = NEEDED
                .iter()
                .find(|(code, _, _)| !operations.contains(code));
            if let Some((_, name, since)) = missing {
                return Err(lacks(facts, name, since));
            }
        }
    }
    match ring.buffers {
        Err(libc::ENOMEM) => return Err(no_ring(libc::ENOMEM, facts)),
        Err(error) => return Err(lacks_for(facts, "IORING_REGISTER_PBUF_RING", "5.19", error)),
        Ok(()) => {}
    }
    if let Err(error) = ring.multishot {
        return Err(lacks_for(facts, "IORING_RECV_MULTISHOT", "6.0", error));
    }
    Ok(ring.mode)
}

fn lacks(facts: &Facts, name: &str, since: &str) -> Missing {
    Missing(format!(
        "the kernel (Linux {}) lacks {name}, which Linux has since {since}, or something forbids \
         it",
        facts.release
    ))
}

fn lacks_for(facts: &Facts, name: &str, since: &str, error: i32) -> Missing {
    let Missing(lacks) = lacks(facts, name, since);
    Missing(format!("{lacks} ({})", io::Error::from_raw_os_error(error)))
}

/// Why the system gives no ring.
fn no_ring(error: i32, facts: &Facts) -> Missing {
    let said = io::Error::from_raw_os_error(error);
    let why = match (error, facts.disabled.as_deref()) {
        (libc::EPERM, Some("2")) => {
            "sysctl kernel.io_uring_disabled is 2, which forbids it to everyone; set it to 0"
                .to_owned()
        }
        (libc::EPERM, Some("1")) => {
            "sysctl kernel.io_uring_disabled is 1, which forbids it to whoever is not in the group \
             kernel.io_uring_group; set it to 0, or be in that group"
                .to_owned()
        }
        (libc::EPERM | libc::EACCES, _) => {
            format!(
                "io_uring_setup is refused ({said}): by a seccomp filter (as containers have) \
                or a security module; allow io_uring_setup, io_uring_enter and io_uring_register"
            )
        }
        (libc::ENOSYS, _) => {
            format!(
                "there is no io_uring_setup ({said}): the kernel is older than Linux 5.1 or \
                built without it, or a seccomp filter hides it"
            )
        }
        (libc::ENOMEM, _) => match facts.memlock_bytes {
            Some(bytes) => format!(
                "there is no memory for a ring ({said}): RLIMIT_MEMLOCK is {bytes} bytes, which \
                 Linux before 5.12 counts rings against; raise it (systemd: LimitMEMLOCK=)"
            ),
            None => format!("there is no memory for a ring ({said})"),
        },
        (libc::EMFILE | libc::ENFILE, _) => {
            format!(
                "there is no file descriptor for a ring ({said}); raise the bound (systemd: \
                LimitNOFILE=)"
            )
        }
        _ => format!("io_uring_setup failed: {said}"),
    };
    Missing(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that is as it should be, but for what a test takes away.
    struct Simulated(Facts);

    impl Rings for Simulated {
        fn facts(&self) -> Facts {
            self.0.clone()
        }

        fn make(&self, _: Arc<Eventfd>) -> io::Result<Ring> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn whole() -> Facts {
        Facts {
            release: "6.9.1".to_owned(),
            disabled: Some("0".to_owned()),
            memlock_bytes: Some(65_536),
            ring: Ok(RingFacts {
                mode: Mode::Deferred,
                keeps_completions: true,
                waits_with_timeout: true,
                waits_for_sockets: true,
                operations: Ok(NEEDED.iter().map(|(code, _, _)| *code).collect()),
                buffers: Ok(()),
                multishot: Ok(()),
            }),
        }
    }

    /// What such a kernel lacks: `auto` takes mio and says so, and to want the ring is an error
    /// that says so.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Facts), words: &[&str]) {
        let mut facts = whole();
        change(&mut facts);
        let rings = Simulated(facts);
        let choice = choose(EngineName::Auto, 0, &rings).unwrap();
        assert!(matches!(choice, Choice::Mio(_)), "{choice:?}");
        let error = choose(EngineName::IoUring, 0, &rings)
            .unwrap_err()
            .to_string();
        for word in words {
            assert!(choice.to_string().contains(word), "{word} in {choice}");
            assert!(error.contains(word), "{word} in {error}");
        }
        assert_eq!(
            choose(EngineName::Mio, 0, &rings).unwrap(),
            Choice::Mio("sync.engine says so".to_owned())
        );
    }

    fn of_ring(change: impl FnOnce(&mut RingFacts)) -> impl FnOnce(&mut Facts) {
        |facts| change(facts.ring.as_mut().unwrap())
    }

    #[test]
    fn a_kernel_that_has_all_of_it_gets_the_ring() {
        for wanted in [EngineName::Auto, EngineName::IoUring] {
            let choice = choose(wanted, 0, &Simulated(whole())).unwrap();
            assert!(
                matches!(&choice, Choice::IoUring(why) if why.contains("6.9.1")),
                "{choice}"
            );
        }
    }

    #[test]
    fn whatever_single_operation_is_missing_is_named() {
        for (code, name, since) in NEEDED {
            let without = of_ring(|ring| {
                let operations = ring.operations.as_mut().unwrap();
                operations.retain(|operation| *operation != code);
            });
            check(without, &[name, since, "6.9.1"]);
        }
        check(
            of_ring(|ring| ring.operations = Err(libc::EINVAL)),
            &["IORING_REGISTER_PROBE"],
        );
        check(
            of_ring(|ring| ring.keeps_completions = false),
            &["IORING_FEAT_NODROP"],
        );
        check(
            of_ring(|ring| ring.waits_for_sockets = false),
            &["IORING_FEAT_FAST_POLL"],
        );
        check(
            of_ring(|ring| ring.waits_with_timeout = false),
            &["IORING_FEAT_EXT_ARG"],
        );
        check(
            of_ring(|ring| ring.buffers = Err(libc::EINVAL)),
            &["IORING_REGISTER_PBUF_RING", "5.19"],
        );
        check(
            of_ring(|ring| ring.buffers = Err(libc::ENOMEM)),
            &["RLIMIT_MEMLOCK is 65536 bytes"],
        );
        check(
            of_ring(|ring| ring.multishot = Err(libc::EINVAL)),
            &["IORING_RECV_MULTISHOT", "6.0"],
        );
    }

    #[test]
    fn whoever_forbids_it_is_named() {
        check(
            |facts| {
                facts.disabled = Some("2".to_owned());
                facts.ring = Err(libc::EPERM);
            },
            &["kernel.io_uring_disabled is 2"],
        );
        check(
            |facts| {
                facts.disabled = Some("1".to_owned());
                facts.ring = Err(libc::EPERM);
            },
            &["kernel.io_uring_group"],
        );
        check(
            |facts| facts.ring = Err(libc::EPERM),
            &["seccomp", "io_uring_setup"],
        );
        check(|facts| facts.ring = Err(libc::ENOSYS), &["seccomp", "5.1"]);
        check(
            |facts| facts.ring = Err(libc::ENOMEM),
            &["RLIMIT_MEMLOCK is 65536 bytes"],
        );
        check(|facts| facts.ring = Err(libc::EMFILE), &["LimitNOFILE"]);
        check(
            |facts| facts.ring = Err(libc::EIO),
            &["io_uring_setup failed", "os error 5"],
        );
    }

    #[test]
    fn without_deferred_task_work_auto_takes_mio_and_the_ring_can_be_had() {
        for mode in [Mode::Cooperative, Mode::Plain] {
            let mut facts = whole();
            facts.ring.as_mut().unwrap().mode = mode;
            let rings = Simulated(facts);
            let choice = choose(EngineName::Auto, 0, &rings).unwrap();
            assert!(
                matches!(&choice, Choice::Mio(why) if why.contains(mode.name())),
                "{choice}"
            );
            let choice = choose(EngineName::IoUring, 0, &rings).unwrap();
            assert!(matches!(choice, Choice::IoUring(_)));
        }
    }

    #[test]
    fn where_a_rate_is_bounded_auto_takes_mio() {
        let choice = choose(EngineName::Auto, 1000, &Simulated(whole())).unwrap();
        assert!(
            matches!(&choice, Choice::Mio(why) if why.contains("max_rate_per_backend")),
            "{choice}"
        );
        let choice = choose(EngineName::IoUring, 1000, &Simulated(whole())).unwrap();
        assert!(matches!(choice, Choice::IoUring(_)));
    }

    #[test]
    fn this_kernel_is_judged_by_what_it_can_do() {
        let facts = Facts::of_kernel();
        match (&facts.ring, judge(&facts)) {
            // Where the tests run it may be forbidden; then it says why.
            (Err(_), Err(missing)) => eprintln!("skipped, no ring here: {missing}"),
            (Ok(_), Err(missing)) => eprintln!("no ring of use here: {missing}"),
            (_, Ok(_)) => assert!(facts.ring.is_ok()),
        }
    }
}
