//! What a fake HustDB can be told to do wrong, in words: as an option, or in a line of its stdin.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use crate::fake_hustdb::{Accept, Act, FakeHustdb, On, Rule, Script};
use crate::text::parse_duration;

/// For `--help`.
pub(super) const WORDS: &str = "What it can be told to do wrong, by --fault or a line of stdin \
while it runs:
  slow 200ms         each answer waits so long
  freeze             nothing is answered, probes neither
  down, up           nobody listens and no connection stands; it is there again
  refuse, hang-up    new connections are refused, or reset as soon as they are accepted
  status 500         requests are answered with this status
  close, reset       the connection ends instead of an answer
  half               half an answer comes, and then nothing
  silence            no answer comes
  garbage, html      an answer that is no HTTP, or a page
  well               all is well again

Behind status, close, reset, half, silence, garbage and html may stand, in any order:
  of data            all requests but probes (as without it); or of probes, mutations, everything,
                     or key:PREFIX
  after 10           so many are answered rightly before
  times 3            it happens to so many, and not more
  applied            the request is carried out all the same";

/// Something that it is told.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Well,
    Down,
    Up,
    Slow(Duration),
    Accept(Accept),
    Rule(Rule),
}

impl Fault {
    /// From now on it behaves so.
    pub(super) fn apply(self, fake_hustdb: &FakeHustdb) -> io::Result<()> {
        match self {
            Self::Well => {
                fake_hustdb.set_script(Script::default())?;
                fake_hustdb.restart()
            }
            Self::Down => fake_hustdb.kill(),
            Self::Up => fake_hustdb.restart(),
            Self::Slow(delay) => fake_hustdb.script(|script| script.answer_delay = delay),
            Self::Accept(accept) => fake_hustdb.script(|script| script.accept = accept),
            // The first rule that fits counts: the last word.
            Self::Rule(rule) => fake_hustdb.script(|script| script.rules.insert(0, rule)),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let fault = match verb {
            "well" => Self::Well,
            "down" => Self::Down,
            "up" => Self::Up,
            "refuse" => Self::Accept(Accept::Refuse),
            "hang-up" => Self::Accept(Accept::Reset),
            "freeze" => Self::Rule(Rule::new(On::Everything, Act::Silence)),
            "slow" => Self::Slow(time(words.next())?),
            _ => return rule(verb, &mut words).map(Self::Rule),
        };
        match words.next() {
            None => Ok(fault),
            Some(more) => Err(format!("nothing can stand behind {verb}: {more}")),
        }
    }
}

fn time(word: Option<&str>) -> Result<Duration, String> {
    let time = word.and_then(|word| parse_duration(word, None).ok());
    time.ok_or_else(|| "slow takes a time, as in `slow 200ms`".to_owned())
}

fn rule<'a>(verb: &str, words: &mut impl Iterator<Item = &'a str>) -> Result<Rule, String> {
    let act = match verb {
        "status" => {
            let status = words.next().and_then(|word| word.parse().ok());
            let is_one = |status: &u16| (100..1000).contains(status);
            Act::status(
                status
                    .filter(is_one)
                    .ok_or("status takes a number, as in `status 500`")?,
            )
        }
        "close" => Act::Close,
        "reset" => Act::Reset,
        "half" => Act::Half,
        "silence" => Act::Silence,
        "garbage" => Act::garbage(),
        "html" => Act::html(),
        _ => {
            return Err(format!(
                "it cannot be told {verb:?}: `hustdbsync fake-hustdb --help`"
            ));
        }
    };
    let mut rule = Rule::new(On::Data, act);
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|word| word.parse().ok());
            number.ok_or_else(|| format!("{word} takes a number"))
        };
        match word {
            "after" => rule.after = number()?,
            "times" => rule.times = number()?,
            "applied" => rule.applied = true,
            "of" => rule.on = of(words.next().unwrap_or_default())?,
            _ => {
                return Err(format!(
                    "nobody knows what {word:?} is to mean behind {verb}"
                ));
            }
        }
    }
    Ok(rule)
}

fn of(word: &str) -> Result<On, String> {
    Ok(match word {
        "everything" => On::Everything,
        "data" => On::Data,
        "mutations" => On::Mutations,
        "probes" => On::Probes,
        _ => match word.strip_prefix("key:") {
            Some(prefix) if !prefix.is_empty() => On::KeyPrefix(prefix.as_bytes().to_vec()),
            _ => {
                return Err("of takes data, probes, mutations, everything or key:PREFIX".to_owned());
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let said = match text.parse::<Fault>() {
            Ok(fault) => format!("{fault:?}"),
            Err(why) => why,
        };
        assert!(said.contains(expected), "{text}: {said}");
    }

    #[test]
    fn faults_are_words() {
        check("well", "Well");
        check(" slow  1s ", "Slow(1s)");
        check("refuse", "Accept(Refuse)");
        check(
            "freeze",
            "on: Everything, after: 0, times: 18446744073709551615, applied: false",
        );
        check("close", "on: Data,");
        check(
            "half applied times 3 of probes after 2",
            "on: Probes, after: 2, times: 3, applied: true",
        );
        check("silence of key:ab", "KeyPrefix([97, 98])");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        check("", "it cannot be told \"\"");
        check("explode", "`hustdbsync fake-hustdb --help`");
        check("slow", "as in `slow 200ms`");
        check("slow soon", "as in `slow 200ms`");
        check("down now", "nothing can stand behind down: now");
        check("status", "as in `status 500`");
        check("status 20", "as in `status 500`");
        check("close times", "times takes a number");
        check("close of", "of takes data");
        check("close of key:", "of takes data");
        check("close twice", "\"twice\"");
    }
}
