//! What the standard library and mio lack, as safe functions over libc. The only place with
//! `unsafe`.
#![allow(
    unsafe_code,
    reason = "system calls that neither std nor mio offers; each block says why it is sound"
)]

pub mod affinity;
pub mod eventfd;
pub mod facts;
pub mod files;
pub mod open_files;
pub mod priority;
pub mod process;
pub mod ring;
pub mod signals;
pub mod socket;
pub mod tcp;
