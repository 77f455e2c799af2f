//! Every bound of the server, once, with its unit and its reason.
//!
//! A setting's default and range live in `config`; what is here cannot be set, or bounds what can.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// Bytes of a record before key and table: fixed fields of the head (see `binlog::record`).
pub const RECORD_HEAD_FIXED_BYTES: usize = 38;

/// hustdb takes request bodies of up to this many bytes; a longer value was refused by the healthy
/// master too.
pub const VALUE_BYTES_MAX: usize = 33_554_432;

/// A log line may have this many bytes, its newline not counted: the longest value and head in
/// base64, and a prefix that an operator's format may make long. A longer line is rejected without
/// being held in memory.
pub const LINE_BYTES_MAX: usize = (VALUE_BYTES_MAX + HEAD_RECORD_BYTES_MAX).div_ceil(3) * 4 + 4096;

/// Room for the head of the record in the longest line: fixed fields, a key and a table of HA's
/// largest request line.
const HEAD_RECORD_BYTES_MAX: usize = 64 * 1024;

/// Of the key or the table of a line that is too long to be held, this many bytes are kept: more
/// than any request's target has room for. A member that goes in the body is in the value as well.
pub const KEY_KEPT_BYTES_MAX: usize = 8 * 1024;

/// Log bytes that the reader reads at once while there is memory for it.
pub const CHUNK_BYTES_MAX: usize = 512 * 1024;

/// The least that a chunk may have when the memory budget is shared by many backends.
pub const CHUNK_BYTES_MIN: usize = 64 * 1024;

/// Pieces of bodies of a backend that are in memory at one time: one that is being sent, and the
/// next. A line that is too long to be held is sent in such.
pub const BODY_PIECES_MAX: usize = 2;

/// Lines of a backend that are too long to be held, fed and not settled, at one time. Each may hold
/// a log open.
pub const LONG_LINES_MAX: usize = 8;

/// The memory budget is shared among the backends that are being read for, and among so many at
/// least, as far as there are that many: a backend that begins finds memory although others have
/// theirs out.
pub const SHARES_MIN: usize = 4;

/// How far ahead of the reader a log that is not in memory is asked for.
pub const READ_AHEAD_BYTES: u64 = 2 * 1024 * 1024;

/// How much of it at once. Of a larger piece the kernel would only take what its disks take in one
/// request.
pub const READ_AHEAD_PIECE_BYTES: u32 = 512 * 1024;

/// `check` calls a disk full that has less than this: a checkpoint has some kilobytes.
pub const STATE_ROOM_BYTES_MIN: u64 = 64 * 1024;

/// Bytes of the file with the backends' login that are read: more than any login has.
pub const LOGIN_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Bytes of HA's table that are read. HA makes one row of some 100 bytes for each pair of masters;
/// 1,024 rows, one for each slot, have 100 KB.
pub const TABLE_BYTES_MAX: usize = 1 << 20;

/// Masters in one row of HA's table. HA takes two.
pub const TABLE_MASTERS_PER_ROW_MAX: usize = 16;

/// Bytes of a master's name in HA's table: the longest host name, a colon and a port; a folder of
/// HA's has the same name.
pub const TABLE_MASTER_BYTES_MAX: usize = 255;

/// Keys of a differences.jsonl that are held in memory at once while it is read, some 30 bytes
/// each. Further ones are counted; who wants to know them reads the file again.
pub const DIFFERENCES_LEFT_MAX: usize = 1 << 20;

/// A line of differences.jsonl that is longer is not ours: room for table, key and member, of which
/// each octet may be escaped by six, and for words.
pub const DIFFERENCE_LINE_BYTES_MAX: usize = 1024 * 1024;

/// A differences.jsonl with fewer bytes is not compacted.
pub const DIFFERENCES_COMPACT_BYTES: u64 = 1024 * 1024;

/// After it could not be compacted, that is tried again so much later: the disk may be full.
pub const DIFFERENCES_COMPACT_RETRY: Duration = Duration::from_secs(600);

/// A file that replaces differences.jsonl is synced each time it has so many bytes more: the last
/// sync must not take long.
pub const DIFFERENCES_SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// First bytes of a log file that take part in its identity.
pub const IDENTITY_PREFIX_BYTES_MAX: usize = 4096;

/// Last bytes that were read of a log by which it is told from one that was cut and has grown
/// again: more than a usual line has.
pub const LAST_READ_BYTES_MAX: usize = 1024;

/// First bytes of a line in which its time is looked for. zlog's own prefix has 32.
pub const LINE_TIME_BYTES_MAX: usize = 64;

/// Bytes at the end of rejected.jsonl that are looked at after a start: a line that is there and
/// that no checkpoint has as settled is not written a second time. More than what is rejected
/// between two checkpoints, but for a log of nothing but bad lines.
pub const REJECTED_KNOWN_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The least room that is kept aside for checkpoints on a full disk: those of sixty backends, a few
/// kilobytes each.
pub const SPARE_BYTES_MIN: u64 = 256 * 1024;

/// So many times the bytes of all checkpoints are kept aside: each is written beside the one that
/// it replaces, and rejected lines may have to be before it.
pub const SPARE_PER_CHECKPOINT: u64 = 4;

/// Of a line that is too long to be a record, this many bytes are kept when it is rejected.
pub const REJECTED_HEAD_BYTES: usize = 4096;

/// Log files whose names were deleted under us that are kept open, a backend, until what was read
/// of them is settled.
pub const UNLINKED_FILES_MAX: usize = 4;

/// What is known of a log that has gone from its folder is kept for this long: an operator who
/// moves a disk's content or mounts something is back by then.
pub const AWAY_LOG_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Logs of a backend of which something is known and that are away; the one that went first is
/// forgotten first. Some 500 bytes each, and 150 in the checkpoint.
pub const AWAY_LOGS_MAX: usize = 4096;

/// First lines of a backend's logs that are remembered, finished ones among them, so that a copy is
/// told; some 60 bytes each.
pub const FIRST_LINES_KEPT_MAX: usize = 8192;

/// Things in logs' folders that are no logs and of which that is said; more are passed over in
/// silence.
pub const PASSED_OVER_SAID_MAX: usize = 1024;

/// Files that HA's `nginx.conf` may include, and how deep; `check` reads no more of them. nginx has
/// no bound of its own, and a file may include itself.
pub const NGINX_INCLUDES_MAX: usize = 256;
/// See [`NGINX_INCLUDES_MAX`].
pub const NGINX_INCLUDE_DEPTH_MAX: usize = 8;

/// A file that has been quiet for this long may be followed by the next: HA's workers append to a
/// minute's file shortly after the next one exists (docs/guarantees.md, G2: the order of the log).
pub const FILE_QUIET_MS: u64 = 1000;

/// HA begins a log each minute, whose name is that minute.
pub const HA_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A log is closed when it has not changed for `checklog_interval` plus this.
pub const FILE_CLOSED_EXTRA_MS: u64 = 20_000;

/// Bytes that hustdb reads at once. A burst must not be larger, or a read could end inside a
/// request's target.
pub const HUSTDB_READ_BYTES: usize = 4096;

/// How long lookups wait after a backend came up, or a connection to it ended with requests out:
/// what was sent on it, by this process or one before it, may still be applied. It is far longer
/// than a living backend takes for what its sockets hold, and short, since an increment that is
/// missing cannot be told from one that is there once live increments have come in.
pub const LOOKUP_HOLD: Duration = Duration::from_millis(250);

/// The longest ttl that hustdb heeds, in seconds (30 days). With a longer one it stores for ever.
pub const HUSTDB_TTL_SECONDS_MAX: u32 = 2_592_000;

/// Answers after which hustdb closes a connection without saying so; `requests_per_connection`
/// stays below.
pub const HUSTDB_ANSWERS_PER_CONNECTION: u32 = 81_920;

/// Bytes of one response, head and body, that we hold while it is incomplete. hustdb's own have
/// about 120.
pub const RESPONSE_BYTES_MAX: usize = 64 * 1024;

/// Headers in a response.
pub const RESPONSE_HEADERS_MAX: usize = 32;

/// Bytes that a worker reads from a connection at once.
pub const RECEIVE_BYTES: usize = 64 * 1024;

/// Entries of a worker's ring that wait to be submitted. More wait beside it, and take another
/// call.
pub const RING_ENTRIES: u32 = 512;

/// Completions that a worker's ring has room for. The kernel keeps more by itself.
pub const RING_COMPLETIONS: u32 = 4096;

/// Buffers that a worker's ring receives into: about as many as there are connections that have
/// something to say at one time. A power of two.
pub const RING_BUFFERS: u16 = 128;

/// Bytes of each of those: the answers of a burst. Longer ones take several.
pub const RING_BUFFER_BYTES: usize = 8 * 1024;

/// For how long answers are gathered, at most, before a worker takes them: an answer's worth of
/// delay where there are many, none where there are few.
pub const RING_BATCH_WAIT: Duration = Duration::from_micros(100);

/// For how long the answers of a burst are gathered, at most, where no more come. The records of
/// those that are there are acknowledged so much later; nothing else waits for it.
pub const GATHER_MAX: Duration = Duration::from_millis(50);

/// The same at least: below this it is a busy core that a worker would take for a backend's manner.
pub const GATHER_MIN: Duration = Duration::from_millis(2);

/// Bytes of answers that are gathered at most; far fewer than a socket has room for.
pub const GATHER_BYTES_MAX: usize = 16 * 1024;

/// How long a ring rests when the kernel has no memory for what it was given.
pub const RING_PAUSE: Duration = Duration::from_millis(1);

/// Threads that write checkpoints, and so checkpoints whose fsyncs overlap. More are no faster.
pub const CHECKPOINT_THREADS: usize = 8;

/// How long the end waits for what these have under way: a disk's time for some kilobytes, unless
/// it hangs.
pub const CHECKPOINT_THREADS_END: Duration = Duration::from_millis(1000);

/// How long the end waits for what a ring has under way. It was cancelled, so this is the time that
/// a busy kernel takes.
pub const RING_END: Duration = Duration::from_millis(1000);

/// A body of more than this is sent from the chunk it was read into; a smaller one is copied behind
/// its head, so that both leave in one piece.
pub const BODY_COPY_BYTES_MAX: usize = 16 * 1024;

/// A reader that does not sleep looks that often for what inotify tells.
pub const HINTS_WITHIN: Duration = Duration::from_millis(1);

/// Outcomes that a worker gathers before it hands them to the checkpointer.
pub const OUTCOMES_PER_BATCH: usize = 512;

/// For how long it gathers them at most. A wake-up of the checkpointer costs as much as sending a
/// record.
pub const HAND_OVER_WITHIN: Duration = Duration::from_millis(2);

/// For how long the checkpointer, behind a turn with a segment, leaves outcomes and segments in its
/// mailbox at most, where the reader has read all. Two wake-ups for a line that comes alone would
/// cost more than all the rest of it; a checkpoint waits for a second in any case.
pub const CHECKPOINTER_GATHERS: Duration = Duration::from_millis(100);

/// Messages that a thread's mailbox holds. A full one is the backpressure.
pub const MAILBOX_MESSAGES: usize = 1024;

/// A connection that has been idle for as long may have been forgotten by something between us and
/// the backend. Nothing is known to forget sooner; and a record that fails by itself is not excused
/// more often than this.
pub const IDLE_MAY_BE_LOST: Duration = Duration::from_secs(1);

/// Signs of life that TCP asks for in vain before an idle connection is given up.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Consecutive failures on a backend, without one answer in between, after which it is held to be
/// down.
pub const TROUBLES_TO_DOWN: u32 = 3;

/// A backend whose probes are good and that has gone down so often, none of its records being
/// answered, is shown as down also while it is tried again.
pub const RELAPSES_TO_DOWN: u32 = 2;

/// Keys of one lane that may all fail, nothing else being left of their backend, and still each be
/// their records' fault; more are the backend's.
pub const KEYS_FAILING_ALONE_MAX: usize = 8;

/// Records behind one that always fails among which another is looked for that may go ahead of it.
pub const CANARIES_LOOKED_AT_MAX: usize = 1024;

/// Failures of one lane in a row, with the backend up, after which that is said.
pub const LANE_FAILURES_TO_WARN: u32 = 3;

/// A lane's failures are in a row when they are no further apart than this: its longest delay, and
/// a timeout of the usual length.
pub const LANE_FAILURE_GAP: Duration = Duration::from_secs(30);

/// Between two lines that say of a lane of the same backend that it keeps failing.
pub const LANE_WARN_INTERVAL: Duration = Duration::from_secs(60);

/// Between two lines that give another cause of a state which a backend is still in.
pub const CAUSE_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// First and last delay before a lane tries again, in milliseconds; doubled each time, with jitter.
pub const RETRY_FIRST_MS: u64 = 50;
/// See [`RETRY_FIRST_MS`].
pub const RETRY_LAST_MS: u64 = 5000;

/// For so long a log's descriptor may fail. Then the log is opened anew by its name, or given up
/// where it has none any more: what could be read of it holds back newer logs no longer than this.
pub const DESCRIPTOR_FAILS: Duration = Duration::from_secs(10);

/// Bytes a second of long values that a worker spends on a backend which has answered none of them
/// since it failed. Reading, decoding and sending one of 12 MiB takes some 20 ms of CPU: without a
/// bound, backends that fail them take the time that others need (guarantees, G6).
pub const TRIAL_BYTES_PER_SECOND: u32 = 4 * 1024 * 1024;

/// Requests that a lane may have in one burst, whatever their size.
pub const BURST_REQUESTS_MAX: usize = 64;

/// Bytes of one request's head (request line, fields, the empty line) that the HTTP server reads
/// before it refuses with 431. HA's own request is under 300; nginx and browsers keep theirs under
/// 8 KiB.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Fields in one head. More is refused with 431.
pub const HTTP_FIELDS_MAX: usize = 64;

/// Bytes of answers waiting to be sent on one connection above which no further pipelined request
/// is looked at, until all of them are sent. One answer may be larger: it is never cut.
pub const HTTP_OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one chunk-size line after the size (chunk extensions, which nobody uses).
pub const HTTP_CHUNK_EXTENSION_BYTES_MAX: u32 = 256;

/// How long a connection that we have closed for sending is still read, so that the last answer
/// isn't lost to a reset.
pub const HTTP_LINGER: Duration = Duration::from_secs(1);

/// A connection that has been idle for this long gives its buffers back. Longer than the interval
/// at which HA polls, so that a busy one allocates nothing.
pub const HTTP_BUFFERS_IDLE: Duration = Duration::from_secs(5);

/// An idle connection's buffer above this many bytes is given back at once.
pub const HTTP_BUFFER_KEPT_BYTES_MAX: usize = 16 * 1024;

/// At the end, whoever is in at the HTTP server has this long to be answered after nobody is let in
/// any more.
pub const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// Bytes asked of a socket at once.
pub const HTTP_READ_BYTES: usize = 16 * 1024;

/// Reads of one connection before it is the others' turn.
pub const HTTP_READS_PER_TURN: u32 = 8;

/// Requests of one connection that are answered before it is the others' turn.
pub const HTTP_ANSWERS_PER_TURN: u32 = 16;

/// Work at the HTTP server, as it is charged, after which a connection's turn ends; and so much of
/// connections that exceed their share before new events are looked at. A single answer may be
/// more. HA's poll waits for at most one such turn: some milliseconds.
pub const HTTP_WORK_PER_TURN: u32 = 64;

/// Bytes that one connection is sent before it is the others' turn. The kernel copies them within
/// the call: a tenth of a millisecond.
pub const HTTP_SENT_PER_TURN_BYTES: usize = 256 * 1024;

/// With more backends than this, /metrics and /v1/status are long: they have about 7 KiB and 1 KiB
/// for each.
pub const HTTP_LONG_FROM_BACKENDS: usize = 4;

/// What one call to the system, or one answer, at the HTTP server is charged: 10,000 of them a
/// second, which is a few percent of a core. A poll takes four.
pub const HTTP_WORK_EACH: Duration = Duration::from_micros(100);

/// Each so many bytes of a body at the HTTP server are charged like one answer more: /v1/status and
/// /metrics are made for each who asks.
pub const HTTP_WORK_BODY_BYTES: usize = 8 * 1024;

/// Bytes of answers at the HTTP server that their askers have not taken yet, over all connections.
/// Beyond it the one that has gone longest without an answer goes first. The largest answer,
/// /metrics of 1024 backends, has about 8.5 MB.
pub const HTTP_UNSENT_BYTES_MAX: usize = 20 * 1024 * 1024;

/// Work at the HTTP server that may go ahead of its time: a thousand calls at once.
pub const HTTP_WORK_AHEAD: Duration = Duration::from_millis(100);

/// The least that the HTTP server rests when it has done more, so that it wakes up a hundred times
/// a second and not ten thousand.
pub const HTTP_WORK_REST: Duration = Duration::from_millis(10);

/// What one unit of work is charged to its own connection: 40 of them a second, which are ten
/// polls. Who keeps to that is answered before those who don't.
pub const HTTP_SHARE_EACH: Duration = Duration::from_millis(25);

/// Work of one connection that may go ahead of its time: forty units, for a client that begins with
/// several questions.
pub const HTTP_SHARE_AHEAD: Duration = Duration::from_millis(1000);

/// The most that a connection can be behind: one that ceases to flood is like the others after
/// this.
pub const HTTP_SHARE_DEBT_MAX: Duration = Duration::from_secs(10);

/// A body of /metrics or /v1/status that is longer than this is made once a second for all who ask.
/// A shorter one tells the very instant.
pub const HTTP_BODY_FRESH_BYTES_MAX: usize = 32 * 1024;

/// How often a folder is looked at that has logs with a name elsewhere: such a log may grow without
/// an event. As long as a file is waited for before a newer one is begun.
pub const SEVERAL_NAMES_LOOK: Duration = Duration::from_millis(FILE_QUIET_MS);

/// Between two looks at which folders of logs are others than before, as something was mounted or
/// unmounted somewhere. Where containers start, mounts come in storms; a look costs a microsecond
/// a backend.
pub const MOUNT_LOOKS_REST: Duration = Duration::from_millis(500);

/// Connections accepted before it is the others' turn.
pub const HTTP_ACCEPTS_PER_TURN: u32 = 256;

/// Bytes of a report that `status` takes from a server: a few hundred for each backend.
pub const REPORT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Connections at the HTTP server at a time, however many files may be open; the next one takes the
/// place of the one that has been idle longest. An idle one costs us half a KiB, and the kernel
/// some more.
pub const HTTP_CONNECTIONS_MAX: usize = 16_384;

/// A thread that has been at one turn for this long does not get on, and /healthz says so. Longer
/// than any disk takes that still works.
pub const THREAD_STUCK_AFTER: Duration = Duration::from_secs(30);

/// What the system says about the process, for /metrics, is asked no more often than this: it costs
/// some ten microseconds.
pub const PROCESS_FACTS_INTERVAL: Duration = Duration::from_secs(1);

/// How long accepting rests when the system has no descriptor or memory left for a new connection.
pub const HTTP_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Deadlines of connections are looked at no more often than this: with thousands of connections a
/// look costs some ten microseconds.
pub const HTTP_DEADLINE_TICK: Duration = Duration::from_millis(50);

/// Messages that the checkpointer takes in before it looks whether something is due.
pub const CHECKPOINTER_MESSAGES_PER_TURN: usize = MAILBOX_MESSAGES;

/// Bytes of a backend's checkpoint. It has some hundred bytes a file and a few for each gap among
/// the lines in flight.
pub const CHECKPOINT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes that are appended to rejected.jsonl at once, unless a single line has more.
pub const REJECTED_WRITE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes behind the last newline of rejected.jsonl that are looked at, at a start, as a line that
/// only lacks its newline. More is cut off: it was never synced.
pub const REJECTED_TAIL_BYTES_MAX: usize = 1024 * 1024;

/// Between two looks, at most, at who has a finished log open for writing.
pub const WRITERS_LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Deleted logs that are kept open, in case somebody still writes to them.
pub const DELETED_LOGS_WATCHED_MAX: usize = 1024;

/// For how long each of them is, at least. Whoever had found its name before it went has written by
/// then. Where there are more finished logs than may be kept open, these are deleted as fast:
/// 10,000 a second.
pub const DELETED_LOG_WATCHED: Duration = Duration::from_millis(100);

/// Reads of a checkpoint that fail before it is held for lost. A read that is refused (permissions)
/// is tried for ever.
pub const CHECKPOINT_READS_MAX: u32 = 5;

/// After a checkpoint the next one waits for this long a mebibyte, if that is longer than its
/// interval: one of a hundred thousand logs has 15 MiB, and writing it each second would cost more
/// than all else that is done for those.
pub const CHECKPOINT_REST_PER_MIB: Duration = Duration::from_millis(200);

/// A checkpoint that is under way for longer is a fault of its backend's: a disk that hangs is to
/// be seen. As long as a thread may be at one turn.
pub const CHECKPOINT_HANGS: Duration = THREAD_STUCK_AFTER;

/// The longest that a question for a sync point waits for its answer.
pub const SYNC_POINT_WAIT_MAX: Duration = Duration::from_secs(600);

/// Sync points that are known at a time. The next one takes the place of the one that was asked for
/// longest ago.
pub const SYNC_POINTS_MAX: usize = 64;

/// A sync point that is not taken within this may give its place to another: whoever has asked for
/// it waits no longer.
pub const SYNC_POINT_TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// Questions for sync points that wait at a time. The next one takes the place of the one that has
/// waited longest, which is answered.
pub const SYNC_POINT_WAITERS_MAX: usize = 64;

/// How long a sync point is kept that nobody asks for.
pub const SYNC_POINT_KEPT: Duration = Duration::from_secs(3600);

/// Logs of a sync point that are gone and are looked for in one look, so that a look takes a
/// millisecond or so.
pub const SYNC_POINT_GONE_PER_LOOK: usize = 1024;

/// How long all that a sync point waits for may be gone before `status --wait` gives it up: a file
/// system that is mounted anew takes a moment, and a log that was deleted is read on while it is
/// open.
pub const SYNC_POINT_GONE_FOR: Duration = Duration::from_secs(5);

/// Unfinished logs that all sync points together may have to remember, some 90 bytes each.
pub const SYNC_POINT_LOGS_MAX: usize = 131_072;

/// Between two looks at a sync point whose backend moves.
pub const SYNC_POINT_LOOK: Duration = Duration::from_millis(50);

/// Between two looks at a sync point whose backend does not: has somebody deleted a log?
pub const SYNC_POINT_LOOK_IDLE: Duration = Duration::from_secs(1);

/// Questions about rejected lines that wait for the checkpointer at a time.
pub const REQUEUES_MAX: usize = 16;

/// Rejected lines of a backend that the page shows: those that were rejected last.
pub const REJECTED_SHOWN_MAX: usize = 100;

/// Logs of a backend that the page shows: the first ones in the order of replay. A row that opens
/// is to stay readable, and an answer short.
pub const LOGS_SHOWN_MAX: usize = 100;

/// Bytes at the end of rejected.jsonl that are read for them. A line with a long value may have
/// more than all of that; then there is nothing to show, and `hustdbsync rejected` has it.
pub const REJECTED_SHOWN_BYTES_MAX: u64 = 256 * 1024;

/// Characters of a detail that the page shows.
pub const REJECTED_DETAIL_CHARS_MAX: usize = 300;

/// Requests for control that are followed before it is the others' turn.
pub const ASKS_PER_TURN: usize = 64;

/// The largest bound of a backend's rate, in records a second.
pub const RATE_MAX: u32 = 100_000_000;

/// Rejected lines that one request may name.
pub const REJECTED_IDS_MAX: usize = 500;

/// Nice value of the control thread, where the process may lower it.
pub const CONTROL_NICE: i32 = -10;

/// How long the reader sleeps at most while buffers are out that nobody need tell it of: what it
/// says of its memory is no older.
pub const CHUNKS_MISSED: Duration = Duration::from_millis(500);

/// How long a thread waits before it offers a full mailbox a message again.
pub const OUTBOX_RETRY: Duration = Duration::from_millis(2);

/// Two probes of a backend that are wanted at once are at least this far apart, in milliseconds: a
/// storm of broken connections is answered by one probe.
pub const PROBE_AT_ONCE_GAP_MS: u64 = 50;

/// HA logs a write so soon after its backend has refused or closed the connection of it, if at all.
///
/// Measured with HA 1.9 between clients of 20 to 75 s of patience and a backend that ended with 32
/// writes applied and unanswered, by RST and by FIN: HA goes on connecting for these until their
/// clients give up, and logs none of them, ever (88 of 88, and of 29 more whose backend came back:
/// HA sent these again itself). Each line that it did log, from the second of the end on, was of a
/// write that had not been applied (19,480 lines). So a longer time would ask for nothing but
/// missed ones.
pub const REFUSED_AMBIGUITY: Duration = Duration::from_secs(2);

/// Between two signs that a backend is dead that are further apart, it may have lived. Two probes
/// in a row that get no answer are closer, at the intervals and timeouts of the shipped
/// configuration.
pub const OUTAGE_SIGNS_GAP: Duration = Duration::from_secs(15);

/// Outages of a backend that are remembered; of older ones nobody knows any more.
pub const OUTAGES_MAX: usize = 64;

/// Bytes of the file that keeps them: two numbers of at most twenty digits each a line, a head, a
/// checksum, and a line that says which file it is.
pub const OUTAGES_BYTES_MAX: usize = 112 + OUTAGES_MAX * 42;

/// What is known of an outage is written again when it is a quarter longer, and at least so often,
/// in seconds.
pub const OUTAGE_KEPT_EACH_MAX_S: u64 = 60;

/// Longest time between probes, in milliseconds, while records with a ttl wait for the backend's
/// clock: so far apart that they cost nothing, so close that a restart between two of them could
/// not have been over.
pub const PROBE_HOLD_MS: u64 = 500;

/// How far a probe of a backend that is down strays from its interval, in percent either way.
pub const PROBE_JITTER_PERCENT: u64 = 20;

/// First and last pause, in milliseconds, of a backend whose probe is good but whose lanes all
/// fail; doubled each time. Once it is mended, the first record waits for the last of them at
/// most, and live writes are overtaken meanwhile: so it is as short as the usual time between two
/// probes.
pub const TROUBLE_PAUSE_FIRST_MS: u64 = 500;
/// See [`TROUBLE_PAUSE_FIRST_MS`].
pub const TROUBLE_PAUSE_LAST_MS: u64 = 5_000;

/// Bytes of inotify's events that are read at once.
pub const INOTIFY_READ_BYTES: usize = 16 * 1024;

/// Reads of inotify's events before it is the others' turn.
pub const INOTIFY_READS_PER_TURN: u32 = 16;

/// Backends of one server. Each has a folder, a watch, a probe's connection and its lanes'
/// connections.
pub const BACKENDS_MAX: usize = 1024;

/// Slots in which a backend's changes of state within an hour are counted: one for each minute. Two
/// bytes each for every backend.
pub const STATE_COUNT_SLOTS: usize = 60;

/// Latencies that are shown are those of the last one or two of these: long enough that a request a
/// second has a 99th percentile, short enough that a backend that has become slow shows soon.
pub const LATENCY_WINDOW: Duration = Duration::from_secs(60);

/// How often each backend's rate, backlog and lag are noted for the page's last hour.
pub const HISTORY_INTERVAL: Duration = Duration::from_secs(30);

/// Samples that are kept for each backend: an hour. 16 bytes each, 2 MiB for the most backends.
pub const HISTORY_SAMPLES: usize = 120;

/// A backend's folder has been gone for so many times `rescan_interval` before the backend is
/// forgotten: a file system that is mounted anew takes a moment.
pub const FORGET_AFTER_RESCANS: u32 = 2;

/// How long a backend whose folder is gone, and of which something is left, is left alone before
/// that is looked at again.
pub const FORGET_AGAIN: Duration = Duration::from_secs(60);

/// How long the checkpointer waits before it tries again to forget a backend whose state it could
/// not remove.
pub const FORGET_RETRY: Duration = Duration::from_secs(5);

/// Bytes of the file with the totals of forgotten backends that are read: it names each whose state
/// is being removed.
pub const FORGOTTEN_BYTES_MAX: usize = 1024 * 1024;

/// Open files of the process itself: standard streams, a poll and a waker for each thread, inotify,
/// signals, the lock, a state file.
pub const OWN_OPEN_FILES: u64 = 64;

/// Open files of a backend besides its lanes' connections: its probe, its logs (those at hand,
/// those unlinked, those of long lines), a state file.
pub const BACKEND_OPEN_FILES: u64 = 4 + UNLINKED_FILES_MAX as u64 + LONG_LINES_MAX as u64;

/// The HTTP server leaves open files for at least so many backends; HustDB's clusters are smaller.
pub const BACKENDS_EXPECTED: u64 = 32;

/// The HTTP server leaves at least one part in so many of the open files to the rest, for clusters
/// that are larger.
pub const HTTP_SERVER_LEAVES_OF_OPEN_FILES: u64 = 4;

/// The HTTP server has at least one part in so many of the open files, however few they are: HA has
/// to get in.
pub const HTTP_SERVER_LEAST_OF_OPEN_FILES: u64 = 8;

/// Emptied vectors that are kept to be used again, of each kind.
pub const POOLED_VECTORS: usize = 1024;

/// How long, in seconds, a connection at the HTTP server without a request is kept from us
/// (`enable_defer_accept`), as with the original.
pub const DEFER_ACCEPT_SECONDS: u64 = 1;

/// How often the controller looks whether a backend that is down has got a backlog, and whether one
/// whose records fail has answered one. At the counters of others it looks with their probes.
pub const COUNTERS_LOOK: Duration = Duration::from_millis(500);

/// How much longer than `drain_timeout`, in milliseconds, the end waits for everyone to say that
/// nothing is in flight.
pub const DRAIN_EXTRA_MS: u64 = 1000;

/// How long the end waits, in milliseconds, for the checkpointer to write its last checkpoints once
/// it has been told to.
pub const CHECKPOINTER_END_MS: u64 = 15_000;

/// How long the end waits, in milliseconds, for a thread that has been told to end.
pub const THREAD_END_MS: u64 = 3000;

const _: () = assert!(
    BURST_REQUESTS_MAX < OUTCOMES_PER_BATCH,
    "a burst's outcomes fit a batch"
);
const _: () = assert!(CHUNK_BYTES_MIN <= CHUNK_BYTES_MAX);
const _: () = assert!(
    BODY_COPY_BYTES_MAX >= HUSTDB_READ_BYTES,
    "whatever fits a burst is copied"
);
const _: () = assert!(
    RECORD_HEAD_FIXED_BYTES + 2 * KEY_KEPT_BYTES_MAX + REJECTED_HEAD_BYTES <= CHUNK_BYTES_MIN,
    "what is held of a long line fits the least chunk"
);
const _: () = assert!(
    LINE_BYTES_MAX < u32::MAX as usize,
    "a value's length is counted in u32"
);
const _: () = assert!(IDENTITY_PREFIX_BYTES_MAX <= CHUNK_BYTES_MIN);
const _: () = assert!(HTTP_OUTPUT_BYTES_MAX >= HTTP_BUFFER_KEPT_BYTES_MAX);
const _: () = assert!(HTTP_READ_BYTES <= HTTP_HEAD_BYTES_MAX);
const _: () = assert!(HTTP_SHARE_DEBT_MAX.as_millis() > HTTP_SHARE_AHEAD.as_millis());
const _: () = assert!(HTTP_SHARE_EACH.as_micros() > HTTP_WORK_EACH.as_micros());
const _: () = assert!(HTTP_WORK_PER_TURN > HTTP_ANSWERS_PER_TURN + HTTP_READS_PER_TURN);
const _: () = assert!(HTTP_SENT_PER_TURN_BYTES >= HTTP_OUTPUT_BYTES_MAX);
const _: () = assert!(HISTORY_INTERVAL.as_secs() * HISTORY_SAMPLES as u64 == 3600);
const _: () = assert!(3600 % STATE_COUNT_SLOTS == 0, "each slot has whole seconds");
const _: () = assert!(TROUBLE_PAUSE_FIRST_MS > PROBE_AT_ONCE_GAP_MS);
const _: () = assert!(INOTIFY_READ_BYTES >= 4096, "the longest event fits");

/// A key on which both masters differ is looked up again after this long: longer than a live write
/// takes from one master to the other, and short beside what comparing takes.
pub const RECONCILE_LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How often that is doubled for a key that does not come to rest: up to 8 s.
pub const RECONCILE_WAIT_DOUBLINGS: u32 = 4;

/// Answers to the two lookups of a key that come further apart than this are not trusted to be of
/// one instant.
pub const RECONCILE_LOOKS_APART: Duration = Duration::from_millis(5);

/// A mend that could not be sent within this time is not sent any more: the key is looked at again.
/// So it is where the answers to its two lookups came further apart.
pub const RECONCILE_SEND_WITHIN: Duration = Duration::from_secs(1);

/// What was read of a key counts for so long, which is enough for the longest value. Then the key
/// is looked at again.
pub const RECONCILE_MEND_FRESH: Duration = Duration::from_secs(5);

/// Keys of one backend that are being asked for at one time: some bursts for each connection to
/// each master.
pub const RECONCILE_KEYS_ASKED_MAX: usize = 1024;

/// The first keys that are asked for; more once they are answered.
pub const RECONCILE_KEYS_ASKED_FIRST: usize = 16;

/// A lookup that is answered later than this shows that too many are asked for: a key takes three
/// in a row, and [`RECONCILE_SEND_WITHIN`] is to be enough for all.
pub const RECONCILE_ANSWERED_WITHIN: Duration = Duration::from_millis(250);

/// Keys of one backend that wait to be looked up again, each of some hundred bytes.
pub const RECONCILE_KEYS_WAITING_MAX: usize = 16_384;

/// So many keys that a peer lacks are deleted in one comparison, and one more for every four that
/// it has. One that lacks more may have been emptied or replaced; live deletes that raced with a
/// replay are fewer.
pub const RECONCILE_DELETES_FREE: u64 = 8;

/// Values of one backend that are in memory to be copied; each may have [`VALUE_BYTES_MAX`].
pub const RECONCILE_VALUES_MAX: usize = 8;

/// A master that has requests and takes longer than `sync.reconcile_timeout` for so many answers is
/// too slow to be waited for.
pub const RECONCILE_PROGRESS_ANSWERS: u32 = 1000;

/// A lookup that a master answers wrongly, or not at all, so often while it answers others is given
/// up. One that is not sick for good, or a bad network, does that to any a few times.
pub const RECONCILE_BAD_ANSWERS_MAX: u32 = 10;

/// So is one that it answers wrongly for so long, where it has answered others and hardly any are
/// left. A write that is answered so for so long is not tried again.
pub const RECONCILE_BAD_ANSWERS_FOR: Duration = Duration::from_secs(60);

/// Where as many lookups wait, it is not for single keys that a master answers wrongly.
pub const RECONCILE_BAD_KEYS_MAX: usize = 4;

/// The logs of a backend that is down or has records waiting give their place to others' after so
/// long; their comparison begins anew later.
pub const RECONCILE_BLOCKED_MAX: Duration = Duration::from_secs(5);

/// The finished logs of a backend wait so long for newer ones that are not finished: of a key in
/// several logs the last record counts. An outage's last log is finished 80 s after its last write
/// by the settings as shipped.
pub const RECONCILE_NEWER_LOGS_WAIT: Duration = Duration::from_secs(180);

/// A comparison that gives way to newer logs of the other master begins anew. After so many times
/// it goes on to its end, and reports what differs: those logs may come faster than it ends.
pub const RECONCILE_GIVES_WAY_MAX: u32 = 3;

/// A table of HA's that has gone or cannot be read is taken as it was for so long: HA rewrites it.
pub const RECONCILE_TABLE_GRACE: Duration = Duration::from_secs(10);

/// Bytes of a finished log that are read for its keys at once.
pub const RECONCILE_READ_BYTES: usize = 256 * 1024;

/// A member of a set or a sorted set that has more bytes is not compared: it would be kept in
/// memory.
pub const RECONCILE_MEMBER_BYTES_MAX: usize = 64 * 1024;

/// Bytes of distinct keys of one backend that are in memory at one time. A log with more keys is
/// read several times.
pub const RECONCILE_KEY_BYTES_MAX: usize = 20 * 1024 * 1024;

const _: () = assert!(
    6 * (RECONCILE_MEMBER_BYTES_MAX + HEAD_RECORD_BYTES_MAX) + 4096 <= DIFFERENCE_LINE_BYTES_MAX
);

/// Finished logs of a backend that are compared together at most.
pub const RECONCILE_LOGS_MAX: usize = 4096;

/// Backends whose keys are compared at one time.
pub const RECONCILE_BACKENDS_MAX: usize = 4;

/// How often the reconciler looks whether a backend that it waits for is in good order, and whether
/// HA's table has changed.
pub const RECONCILE_LOOK: Duration = Duration::from_millis(200);

/// How often each backend's differences.jsonl is looked at: an operator may settle differences.
pub const RECONCILE_COUNT_INTERVAL: Duration = Duration::from_secs(2);

/// Differences are written to the disk when they have this many bytes, and at the end of a pass.
pub const RECONCILE_DIFFERENCE_BYTES: usize = 64 * 1024;

/// After the disk has failed the reconciler, it tries again so much later.
pub const RECONCILE_RETRY: Duration = Duration::from_secs(1);
