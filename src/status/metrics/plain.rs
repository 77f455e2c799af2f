//! Prometheus' text format 0.0.4 from OpenMetrics: the samples are the same, the descriptions are
//! of their names as they stand.

use std::fmt::Write;

/// The same metrics in the older form.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + text.len() / 16);
    let mut help = "";
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            // What it is of is known by the next line.
            help = described.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(described) = line.strip_prefix("# TYPE ") {
            let (name, kind) = described.split_once(' ').unwrap_or((described, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                plain,
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}"
            );
        } else if !line.starts_with('#') {
            let _ = writeln!(plain, "{line}");
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_of_the_names_that_the_samples_have() {
        let open = "# HELP a_bytes A thing.\n# TYPE a_bytes counter\n# UNIT a_bytes \
                    bytes\na_bytes_total{b=\"c\"} 3\n\
                    # HELP d D\n# TYPE d info\nd_info{v=\"1\"} 1\n# HELP e E\n# TYPE e gauge\ne \
                    2.5\n\
                    # HELP f F\n# TYPE f histogram\nf_sum 1.0\nf_count 2\nf_bucket{le=\"+Inf\"} \
                    2\n# EOF\n";
        let plain = "# HELP a_bytes_total A thing.\n# TYPE a_bytes_total \
                     counter\na_bytes_total{b=\"c\"} 3\n\
                     # HELP d_info D\n# TYPE d_info gauge\nd_info{v=\"1\"} 1\n# HELP e E\n# TYPE e \
                     gauge\ne 2.5\n\
                     # HELP f F\n# TYPE f histogram\nf_sum 1.0\nf_count 2\nf_bucket{le=\"+Inf\"} \
                     2\n";
        assert_eq!(from_open_metrics(open), plain);
    }
}
