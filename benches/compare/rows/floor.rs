//! Beside the floor: what nobody can avoid, on the same bytes and the same sink.

use std::path::PathBuf;

use super::wire::{KILOBYTE, LARGE, SMALL, home};
use crate::backlog::Backlog;
use crate::figure::Figure;
use crate::report::{Bound, Row};
use crate::server::Home;
use crate::sink::Sink;
use crate::{Options, Outcome, floor, turns};

/// Who is measured.
enum Contender {
    Floor(String, PathBuf),
    Ours(Home),
}

/// Measures, and says how it stands.
pub(crate) fn compare(options: &Options) -> Outcome<Vec<Row>> {
    let sink = Sink::fake_hustdb()?;
    let mut rows = Vec::new();
    for (size, most) in [(SMALL, 1.25), (KILOBYTE, 1.25), (LARGE, 1.15)] {
        let backlog = Backlog::make(size.records, size.value_bytes)?;
        let ours = home(&backlog, &sink, None)?;
        let logs = ours.logs().join(sink.name());
        let contenders = [
            ("the floor", Contender::Floor(sink.name().to_owned(), logs)),
            ("ours, bursts", Contender::Ours(ours)),
        ];
        let title = format!(
            "beside the floor, {} values, fake HustDB at once",
            size.name
        );
        let run = |contender: &Contender| -> Outcome<Figure> {
            match contender {
                Contender::Floor(address, logs) => floor::run(address, logs, size.records),
                Contender::Ours(home) => home.replay(size.records),
            }
        };
        let runs = turns(&title, options.rounds, &contenders, run)?;
        let [floor, ours] = &runs[..] else {
            unreachable!("two are measured")
        };
        let row = |what: &str, ratio, bound| {
            Row::ratio(
                &format!("{}, bursts to the fake HustDB at once: {what}", size.name),
                "the floor's",
                ratio,
                bound,
            )
        };
        let cpu = ours.cpu_over(floor);
        rows.push(row("CPU a record", cpu, Some(Bound::AtMost(most))));
        rows.push(row("records/s", ours.rate_over(floor), None));
    }
    Ok(rows)
}
