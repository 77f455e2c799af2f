//! Both engines beside each other, over real sockets that take their time: what one does in a
//! moment the other does too.
//!
//! ```text
//! logs ─▶ server, on mio or on rings ─▶ proxy that reads slowly, forgets or listens ─▶ fake HustDB
//! ```
//!
//! `tests/rings` makes operations fail and asks that nothing is lost. Here sends are short or
//! refused, answers never come and connections are forgotten, and what is asked is *when* things
//! happen. Times are compared with the other engine's in the same run, with seconds to spare on a
//! busy machine: what they are to find costs many.

mod completions;
mod deadlines;
mod fixture;
mod forgotten;
mod proxy;
mod sends;
