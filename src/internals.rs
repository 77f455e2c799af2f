//! What the integration tests, the benchmarks and the fuzz targets may take of the library: what
//! is `pub` in these modules. The product is compiled without it. It is no interface.

macro_rules! open {
    ($($module:ident),+) => { $(pub mod $module { pub use crate::$module::*; })+ };
}

open! {
    binlog, clock, config, connections, engine, fake_hustdb, http, ledger, limits, reconcile,
    replay, status, workload
}
#[cfg(debug_assertions)]
open! { failpoint }
