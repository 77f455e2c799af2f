//! Every key on every backend, compared.

use indicatif::HumanCount;

use super::logs::{Job, now_unix};
use crate::standin::{Counters, Standin, differences};

/// A time to live is relative when it is sent, in whole seconds; so an expiry may be that much off.
const EXPIRY_TOLERANCE_S: u64 = 5;
/// Differences shown for a backend.
const SHOWN: usize = 10;

/// Prints a verdict for each backend. True where all are as they should be.
pub(super) fn verify(jobs: &[Job], standins: &[Standin]) -> bool {
    let mut good = true;
    for (job, standin) in jobs.iter().zip(standins) {
        let expected = job.expected(now_unix());
        let found = standin.contents();
        match differences(&expected, &found, EXPIRY_TOLERANCE_S, SHOWN) {
            None => println!(
                "   {}: {} keys, all as they should be{}",
                job.backend,
                HumanCount(found.len() as u64),
                set_aside(job)
            ),
            Some(differences) => {
                good = false;
                println!("   {}: WRONG", job.backend);
                for line in differences.lines() {
                    println!("     {line}");
                }
            }
        }
        for alarm in alarms(&standin.counters()) {
            good = false;
            println!("   {}: WRONG, {alarm}", job.backend);
        }
    }
    good
}

fn set_aside(job: &Job) -> String {
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
