#![expect(unsafe_code, reason = "the one place for system calls that std lacks")]
//! x
pub mod tcp;
