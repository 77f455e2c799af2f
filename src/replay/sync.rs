//! What threads meet at. Here, so that model checking (`tests/model`) compiles the same sources
//! with its own in their place.

pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};

pub(super) use crossbeam_queue::ArrayQueue;
