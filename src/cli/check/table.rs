//! HA's table: which master a key is compared with.

use super::findings::Findings;
use crate::config::{BackendName, Config};
use crate::engine::surroundings::{read_table, table_path};
use crate::reconcile::settings::ReconcileMode;

/// Where keys are compared (`sync.reconcile`), looks whether the table can be read, and names every
/// backend. Nothing of this stops a replay, so all of it is warnings.
pub(super) fn masters(config: &Config, backends: &[BackendName], findings: &mut Findings) {
    if config.sync.reconcile == ReconcileMode::Off {
        return;
    }
    let path = table_path(config);
    let table = match read_table(&path) {
        Ok(table) => table,
        Err(fault) => {
            return findings.warning(format!("{fault}. Without it no key is compared"));
        }
    };
    for backend in backends {
        let name = backend.to_string();
        if !table.names(&name) {
            findings.warning(format!(
                "backend folder {name}: {} does not name this master, so its keys are not \
                 compared; is it spelt in another way there, or does it belong to another HA?",
                path.display()
            ));
        }
    }
    findings.fact(
        "table",
        format!(
            "keys are compared with the masters that {} names",
            path.display()
        ),
    );
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::harness::Home;
    use super::*;

    fn home(table: &str) -> Home {
        let mut home = Home::new();
        home.config.sync.reconcile = ReconcileMode::Report;
        fs::write(home.path("conf/hustdbtable.json"), table).unwrap();
        home
    }

    fn table_of(masters: &str) -> String {
        format!(r#"{{"table": [{{"item": {{"key": [0, 1024], "val": [{masters}]}}}}]}}"#)
    }

    #[test]
    fn a_table_that_names_every_backend_is_a_fact() {
        let home = home(&table_of(r#""127.0.0.1:9998", "127.0.0.1:9999""#));
        home.check(&[], &[]);
        let facts = home.examine().facts;
        assert!(facts.iter().any(|(label, _)| *label == "table"));
    }

    #[test]
    fn a_backend_that_the_table_does_not_name_is_a_warning() {
        home(&table_of(r#""a:1", "b:1""#)).check(
            &[],
            &[
                "backend folder 127.0.0.1:9998: ~/conf/hustdbtable.json does not name this \
                 master, so its keys are not compared; is it spelt in another way there, or does \
                 it belong to another HA?",
            ],
        );
    }

    #[test]
    fn a_table_that_cannot_be_read_is_a_warning_where_keys_are_compared() {
        let mut home = Home::new();
        home.config.sync.reconcile = ReconcileMode::Report;
        home.check(
            &[],
            &[
                "~/conf/hustdbtable.json: No such file or directory (os error 2); sync.ngx_path \
                 is to be HA's folder, whose conf/hustdbtable.json names the masters. Without it \
                 no key is compared",
            ],
        );
        home.config.sync.reconcile = ReconcileMode::Off;
        home.check(&[], &[]);
    }
}
