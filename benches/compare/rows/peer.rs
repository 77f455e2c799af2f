//! Records a CPU second beside the tokio + hyper replayer's, over the same log to the same nginx.

use std::path::PathBuf;

use super::wire::{SMALL, home};
use crate::backlog::Backlog;
use crate::figure::Figure;
use crate::report::{Bound, Row};
use crate::server::Home;
use crate::sink::Sink;
use crate::{Options, Outcome, peer, turns};

/// Who is measured.
enum Contender {
    Peer(String, PathBuf),
    Ours(Home),
}

impl Contender {
    fn run(&self) -> Outcome<Figure> {
        match self {
            Self::Peer(address, logs) => peer::run(address, logs, SMALL.records),
            Self::Ours(home) => home.replay(SMALL.records),
        }
    }
}

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let backlog = Backlog::make(SMALL.records, SMALL.value_bytes)?;
    let mut rows = against("nginx", &Sink::nginx(1)?, &backlog, options)?;
    rows.extend(against(
        "fake HustDB at once",
        &Sink::fake_hustdb()?,
        &backlog,
        options,
    )?);
    Ok(rows)
}

fn against(name: &str, sink: &Sink, backlog: &Backlog, options: &Options) -> Outcome<Vec<Row>> {
    let bursts = home(backlog, sink, None)?;
    let logs = bursts.logs().join(sink.name());
    let contenders = [
        (
            "tokio + hyper",
            Contender::Peer(sink.name().to_owned(), logs),
        ),
        (
            "ours, one request a send",
            Contender::Ours(home(backlog, sink, Some(0))?),
        ),
        ("ours, bursts", Contender::Ours(bursts)),
    ];
    let title =
        format!("beside a tokio + hyper replayer, 100 B values, {name}, one worker thread each");
    let runs = turns(&title, options.rounds, &contenders, Contender::run)?;
    let [peer, single, bursts] = &runs[..] else {
        unreachable!("three are measured")
    };
    let row = |how: &str, ours, bound| {
        let what = format!("records a CPU second beside tokio + hyper, {name}, {how}");
        Row::ratio(&what, "its", peer.cpu_over(ours), bound)
    };
    Ok(vec![
        row("bursts (default)", bursts, Some(Bound::AtLeast(3.0))),
        row("one request a send", single, None),
    ])
}
