//! Tests of the whole server that wait more than they compute, in one program, so that they wait at
//! the same time: cargo runs one program after another. `.cargo/config.toml` says how many run at
//! once.
//!
//! Each of them has its own home, ports and processes. A test that needs its process to itself (an
//! allocator, another build of the sources) is a program of its own, and so are those that compute.

#[path = "../crash/mod.rs"]
mod crash;
#[path = "../endurance/mod.rs"]
mod endurance;
#[path = "../engines/mod.rs"]
mod engines;
#[path = "../faults/mod.rs"]
mod faults;
#[path = "../http_server/mod.rs"]
mod http_server;
#[path = "../observe/mod.rs"]
mod observe;
#[path = "../real/mod.rs"]
mod real;
#[path = "../rings/mod.rs"]
mod rings;
#[path = "../support/mod.rs"]
mod support;
