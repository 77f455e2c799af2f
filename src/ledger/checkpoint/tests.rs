//! A checkpoint reads back whole or not at all.

use proptest::prelude::*;

use super::*;

fn runs(line: u64) -> impl Strategy<Value = LineRuns> {
    proptest::collection::vec((1..300_u64, 1..300_u64), 0..6).prop_map(move |gaps| {
        let mut runs = LineRuns::default();
        let mut end = line;
        for (gap, lines) in gaps {
            runs.push(end + gap, lines);
            end += gap + lines;
        }
        runs
    })
}

prop_compose! {
    fn file()(
        name in ".{0,20}",
        numbers in any::<[u64; 6]>(),
        prefix_bytes in 0..=4096_u32,
        line in 0..1_u64 << 40,
        byte in any::<u64>(),
        more in 0..1_u64 << 30,
    )(
        settled in runs(line),
        name in Just(name),
        numbers in Just(numbers),
        prefix_bytes in Just(prefix_bytes),
        line in Just(line),
        byte in Just(byte),
        more in Just(more),
    ) -> FileResume {
        let last_read = LastRead {
            byte: byte >> 1,
            bytes: prefix_bytes / 4,
            hash: numbers[0],
        };
        let identity = Identity {
            device: numbers[0],
            inode: numbers[1],
            born_nanos: numbers[2],
            prefix_bytes,
            prefix_hash: numbers[3],
            lead_hash: numbers[4],
        };
        FileResume {
            name: name.into(),
            identity,
            line,
            byte,
            settled,
            lines_read: line + more,
            away_unix: numbers[5],
            sent: LineRuns::default(),
            last_read,
        }
    }
}

prop_compose! {
    fn checkpoint()(
        kinds in any::<[u32; 5]>(),
        files in proptest::collection::vec(file(), 0..4),
        legacy in proptest::collection::vec((".{0,20}", any::<[u64; 4]>()), 0..3),
    ) -> Checkpoint {
        let [applied, superseded, absent, rejected, more] = kinds.map(u64::from);
        let settled = applied + superseded + absent + rejected;
        let totals = Totals {
            processed: settled + more,
            settled,
            applied,
            superseded,
            absent,
            rejected,
        };
        let legacy = legacy
            .into_iter()
            .map(
                |(name, [line, lines_read, bytes_read, away_unix])| LegacyResume {
                    name: name.into(),
                    line,
                    lines_read,
                    bytes_read,
                    away_unix,
                },
            );
        Checkpoint {
            totals,
            resume: ResumePlan {
                files,
                legacy: legacy.collect(),
            },
        }
    }
}

fn encoded(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut bytes = b"what was there before".to_vec();
    checkpoint.encode(&mut bytes);
    bytes
}

fn sample() -> Checkpoint {
    let mut settled = LineRuns::default();
    settled.push(12, 3);
    settled.push(400, 1);
    let identity = Identity::new(1, 2, 3, b"[2026-11-22 16:40:38]");
    let file = FileResume {
        name: "2026-11-22-16-40.log".into(),
        identity,
        line: 10,
        byte: 1000,
        settled,
        lines_read: 500,
        away_unix: 1_700_000_000,
        sent: LineRuns::default(),
        last_read: LastRead::new(1000, b"the last line that was read\n"),
    };
    let legacy = LegacyResume {
        name: "2026-11-22-16-41.log".into(),
        line: 4,
        lines_read: 9,
        bytes_read: 300,
        away_unix: 0,
    };
    let totals = Totals {
        processed: 500,
        settled: 14,
        applied: 11,
        superseded: 1,
        absent: 1,
        rejected: 1,
    };
    Checkpoint {
        totals,
        resume: ResumePlan {
            files: vec![file],
            legacy: vec![legacy],
        },
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(checkpoint in checkpoint()) {
        prop_assert_eq!(Checkpoint::decode(&encoded(&checkpoint)), Ok(checkpoint));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(Checkpoint::decode(&bytes).is_err());
    }

    #[test]
    fn any_body_under_a_right_checksum_never_panics(
        body in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes.extend_from_slice(&body);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&(body.len() as u64).to_le_bytes());
        let sum = checksum(&bytes);
        bytes[SUMMED_HEAD_BYTES..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        if let Ok(checkpoint) = Checkpoint::decode(&bytes) {
            prop_assert_eq!(encoded(&checkpoint), bytes);
        }
    }
}

#[test]
fn every_changed_byte_is_noticed() {
    let good = encoded(&sample());
    for at in 0..good.len() {
        for flip in 1..=255 {
            let mut bad = good.clone();
            bad[at] ^= flip;
            assert!(
                Checkpoint::decode(&bad).is_err(),
                "byte {at} changed by {flip}"
            );
        }
    }
}

#[test]
fn every_truncation_and_every_byte_too_many_is_noticed() {
    let mut bytes = encoded(&sample());
    for length in 0..bytes.len() {
        assert!(
            Checkpoint::decode(&bytes[..length]).is_err(),
            "{length} bytes of it"
        );
    }
    bytes.push(0);
    assert!(matches!(
        Checkpoint::decode(&bytes),
        Err(CheckpointFault::Length { .. })
    ));
}

#[test]
fn a_newer_format_is_told_from_rot() {
    let mut bytes = encoded(&sample());
    bytes[8] = 4;
    assert_eq!(Checkpoint::decode(&bytes), Err(CheckpointFault::Format(4)));
}

/// As an older format has it: without the fields that came later.
fn encoded_as_format(format: u32, checkpoint: &Checkpoint) -> Vec<u8> {
    let totals = checkpoint.totals;
    let mut bytes = vec![0; HEAD_BYTES];
    let totals = [
        totals.processed,
        totals.settled,
        totals.applied,
        totals.superseded,
        totals.absent,
        totals.rejected,
    ];
    put_u64s(&mut bytes, totals);
    put_count(&mut bytes, checkpoint.resume.files.len());
    for file in &checkpoint.resume.files {
        let identity = &file.identity;
        put_name(&mut bytes, &file.name);
        put_u64s(
            &mut bytes,
            [identity.device, identity.inode, identity.born_nanos],
        );
        bytes.extend_from_slice(&identity.prefix_bytes.to_le_bytes());
        put_u64s(&mut bytes, [identity.prefix_hash]);
        if format > 1 {
            put_u64s(&mut bytes, [identity.lead_hash]);
        }
        put_u64s(&mut bytes, [file.line, file.byte, file.lines_read]);
        if format > 1 {
            put_u64s(&mut bytes, [file.away_unix]);
        }
        put_count(&mut bytes, file.settled.as_slice().len());
        let mut end = file.line;
        for run in file.settled.as_slice() {
            put_varint(&mut bytes, run.first - end);
            put_varint(&mut bytes, run.lines);
            end = run.end();
        }
    }
    put_count(&mut bytes, checkpoint.resume.legacy.len());
    for file in &checkpoint.resume.legacy {
        put_name(&mut bytes, &file.name);
        put_u64s(&mut bytes, [file.line, file.lines_read, file.bytes_read]);
        if format > 1 {
            put_u64s(&mut bytes, [file.away_unix]);
        }
    }
    let body_bytes = (bytes.len() - HEAD_BYTES) as u64;
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&format.to_le_bytes());
    bytes[16..24].copy_from_slice(&body_bytes.to_le_bytes());
    let sum = checksum(&bytes);
    bytes[SUMMED_HEAD_BYTES..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn older_formats_are_read_as_before() {
    for format in [1, 2] {
        let mut expected = sample();
        let bytes = encoded_as_format(format, &expected);
        // Nobody knew then what these are.
        let file = &mut expected.resume.files[0];
        file.last_read = LastRead::default();
        if format == 1 {
            file.identity.lead_hash = 0;
            file.away_unix = 0;
        }
        assert_eq!(Checkpoint::decode(&bytes), Ok(expected), "format {format}");
    }
}
