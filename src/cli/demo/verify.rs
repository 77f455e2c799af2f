//! Every key on every backend, compared.

use indicatif::HumanCount;

use super::logs::Job;
use crate::cli::local_time::now_unix;
use crate::cli::output;
use crate::fake_hustdb::{Counters, FakeHustdb, differences};

/// A time to live is relative when it is sent, in whole seconds; so an expiry may be that much off.
const EXPIRY_TOLERANCE_S: u64 = 5;
/// Differences shown for a backend.
const SHOWN: usize = 10;

/// Prints a verdict for each backend. True where all are as they should be.
pub(super) fn verify(jobs: &[Job], fake_hustdbs: &[FakeHustdb]) -> bool {
    let mut good = true;
    for (job, fake_hustdb) in jobs.iter().zip(fake_hustdbs) {
        let expected = job.expected(now_unix());
        let found = fake_hustdb.contents();
        match differences(&expected, &found, EXPIRY_TOLERANCE_S, SHOWN) {
            None => output::tell(format_args!(
                "   {}: {} keys, all as they should be{}",
                job.backend,
                HumanCount(found.len() as u64),
                reject(job)
            )),
            Some(differences) => {
                good = false;
                output::tell(format_args!("   {}: WRONG", job.backend));
                for line in differences.lines() {
                    output::tell(format_args!("     {line}"));
                }
            }
        }
        for alarm in alarms(&fake_hustdb.counters()) {
            good = false;
            output::tell(format_args!("   {}: WRONG, {alarm}", job.backend));
        }
    }
    good
}

fn reject(job: &Job) -> String {
    match job.faulty {
        0 => String::new(),
        faulty => format!(
            "; {} lines were no record that can be sent",
            HumanCount(faulty)
        ),
    }
}

/// What a real hustdb would not have stood.
fn alarms(counters: &Counters) -> Vec<String> {
    let mut alarms = Vec::new();
    if counters.cut_targets > 0 {
        alarms.push(format!(
            "{} requests arrived cut inside their target",
            counters.cut_targets
        ));
    }
    if counters.crashes > 0 {
        alarms.push(format!(
            "{} requests would have crashed a real hustdb",
            counters.crashes
        ));
    }
    alarms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hustdb_can_not_stand_is_an_alarm() {
        assert!(alarms(&Counters::default()).is_empty());
        let counters = Counters {
            cut_targets: 1,
            crashes: 2,
            ..Counters::default()
        };
        assert_eq!(alarms(&counters).len(), 2);
    }
}
