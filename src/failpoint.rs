//! Bugs that a test injects, to prove that it would find them. They are compiled for tests with
//! debug assertions only. The product has none of it, neither the list nor the switch, and tests of
//! a release build have it by
//! `cargo test --release --config profile.release.debug-assertions=true`.
//!
//! A place that can have one asks `failpoint!(Name)`: a constant `false` in the product.

#[cfg(not(all(debug_assertions, feature = "testing")))]
macro_rules! failpoint {
    ($fault:ident) => {
        $crate::failpoint::never()
    };
}

/// What `failpoint!` is in the product.
#[cfg(not(all(debug_assertions, feature = "testing")))]
pub(crate) const fn never() -> bool {
    false
}

#[cfg(all(debug_assertions, feature = "testing"))]
macro_rules! failpoint {
    ($fault:ident) => {
        $crate::failpoint::Failpoint::$fault.is_failpoint()
    };
}

#[cfg(all(debug_assertions, feature = "testing"))]
pub use switch::Failpoint;

#[cfg(all(debug_assertions, feature = "testing"))]
mod switch {
    use std::cell::Cell;

    thread_local! {
        static FAILPOINT: Cell<Option<Failpoint>> = const { Cell::new(None) };
    }

    /// One list a test that finds them: variants, and all of the list.
    macro_rules! failpoints {
        ($($(#[$about:meta])* $list:ident { $($(#[$what:meta])* $fault:ident,)* })*) => {
            /// What is done wrong.
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Failpoint {
                $($($(#[$what])* $fault,)*)*
            }

            impl Failpoint {
                $($(#[$about])* pub const $list: &'static [Self] = &[$(Self::$fault),*];)*
            }
        };
    }

    failpoints! {
        /// Found by `tests/simulation`.
        SIMULATION {
            /// What was out on a connection that broke counts as applied.
            AcknowledgeEarly,
            /// A log goes when it is settled, whether or not that is on disk.
            DeleteBeforeCheckpoint,
            /// A connection that breaks takes with it what waits behind its burst.
            DropTail,
            /// The last two records of a lane change places.
            SwapRecords,
            /// What has expired is settled without a delete.
            SkipExpired,
            /// A checkpoint's length and checksum are not looked at.
            TrustTornCheckpoint,
            /// A backend's backlog lacks what is on its way from the reader to the checkpointer.
            ForgetAnnounced,
            /// Lost hints are not made good by looking at everything.
            MissOverflow,
            /// The version that a lookup finds is compared as a number, as if none ever fell.
            CompareNumbers,
            /// A zadd that adds is sent again without looking up.
            ResendZadd,
            /// A zadd that sets, or a zrem, is sent again without looking up.
            ResendLate,
            /// A zadd that an earlier process may have sent counts as never sent.
            ForgetRestart,
            /// A zadd counts as maybe applied even where the backend was dead when its line was
            /// written.
            AskAlways,
            /// What earlier processes knew of a backend's outages is not read.
            ForgetOutages,
            /// A backend that hung is taken for one that refused: HA's timeouts are not waited for.
            IgnoreAmbiguity,
            /// A backend is sent to while its state still says that nobody has sent anything.
            OpenBeforeForgotten,
            /// Records with a ttl don't wait for the backend's clock.
            IgnoreTtlHold,
            /// The first who has let go speaks for all.
            ForgetEpochBarrier,
            /// A line counts as rejected once it is written, synced or not.
            SettleBeforeSync,
            /// A checkpoint takes its place before it is synced.
            UnsyncedCheckpoint,
            /// A checkpoint counts as durable once its first step is asked for.
            DurableWhenBegun,
            /// Another spelling of a key is another key.
            SpellingsApart,
            /// A log is as old as whole seconds say, rounded up. The simulation found this in the
            /// reader.
            QuietTooEarly,
            /// What the backend was asked holds for a whole burst. The simulation found this in the
            /// lane.
            AskOnceForAll,
            /// At the end, lines are let go whose rejecting is tried once more. The simulation
            /// found this in the checkpointer.
            EndTwice,
            /// A log that shrank goes on where it was, whatever its first bytes are.
            TrustShrunkLog,
            /// A log that has grown is the one that it was. The simulation found this in the
            /// reader.
            TrustFirstBytes,
            /// A log's first bytes are told after they are fed. The simulation found this in the
            /// reader.
            IdentifyLate,
            /// A log that was cut and has grown again beyond what was read is the one that it was.
            TrustLastRead,
            /// Lines of a log that shrank while nobody read it are settled. The simulation found
            /// this in the reader.
            TrustSettledLines,
            /// What an earlier process has written to rejected.jsonl is not looked at.
            RejectTwice,
            /// Nobody looks once more at deleted logs.
            LookNoMore,
            /// A flush forgets how often a record has failed.
            ForgetFailures,
            /// A set's member whose time is over is removed.
            RemoveExpired,
            /// It is written without looking up whether it is there.
            SkipLookup,
            /// A score that has a time to live, which is over, is set for ever where the member is
            /// there.
            KeepExpired,
            /// A ttl that hustdb takes for no limit counts as one.
            TrustLongTtl,
            /// What is known of a log that went away is forgotten at once.
            ForgetAway,
            /// A copy's lines count as never sent.
            TrustCopy,
            /// Lines of a log that took another's place count as never sent.
            TrustReplacement,
            /// A log that the checkpointer deleted as its backend went down is read again.
            KeepDeletedAfterFlush,
            /// One line that is too long to be held is in flight at a time, of whatever backend.
            OneLongLineForAll,
            /// What was lost with a forgotten idle connection counts as never sent.
            ForgetIdleLoss,
            /// A backend that rests is not looked at although something of it was changed.
            RestOnChange,
            /// What was sent and not answered before a flush counts as never sent.
            ForgetSent,
            /// An entry of a plan is used after the checkpointer was told that it never will be.
            /// The reader's tests found its like, where the checkpointer forgot entries by itself.
            UseForgotten,
            /// Lookups go at once, though what was sent on an earlier connection may still be
            /// applied.
            LookUpAtOnce,
            /// What somebody takes away of a log is not logged.
            SayNoLoss,
            /// A log that was cut behind what was read of it goes on without a word.
            IgnoreCuts,
            /// That logs' names are not in the order in which they were written is not logged.
            SayNoOrder,
            /// What is known of a folder's logs is forgotten when the logs' path does not show it.
            ForgetFolder,
            /// A descriptor by which a log can't be read is kept for ever.
            KeepStale,
            /// A pause is reported, and the lanes go on.
            SendWhilePaused,
            /// A rate limit is reported, and the workers do not hear of it.
            IgnoreRate,
            /// The workers do not hear of a configuration that was read again.
            KeepOldSettings,
            /// A backend whose folder is gone is forgotten whatever is left of it.
            ForgetWhatIsLeft,
            /// A sync point is settled once something else is durable.
            SettlePointEarly,
            /// Rejected lines that are to be replayed are thrown away.
            ReplayNothing,
        }
        /// Found by `tests/reconcile`.
        RECONCILE {
            /// A mended key is not looked at again.
            TrustMend,
            /// A key that the peer lacks is deleted without being asked to.
            DeleteUnasked,
            /// A key gets the peer's version though it is lower.
            LowerVersion,
            /// A version that a master tells is given to the other one as it is.
            GiveAsTold,
            /// A peer for which records wait is taken for the truth.
            TrustBehindPeer,
            /// A log goes before all of its keys are compared.
            ForgetKeys,
            /// Two spellings of a key are compared as two keys.
            CompareSpellingsApart,
        }
    }

    impl Failpoint {
        /// Whether this thread has it.
        #[must_use]
        pub fn is_failpoint(self) -> bool {
            FAILPOINT.get() == Some(self)
        }

        /// What this thread has, if anything.
        #[must_use]
        pub fn injected() -> Option<Self> {
            FAILPOINT.get()
        }

        /// Gives it to this thread, in place of what it had; none: takes that away.
        pub fn plant(fault: Option<Self>) {
            FAILPOINT.set(fault);
        }
    }
}
