//! `ringmain log` on what real servers leave behind, whole and damaged on purpose: what it says, what it
//! changes, and that a server starts on the result with the data it should have.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod harness;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::server::{Launch, Server, skip_on_other_server};
use harness::value::Value;
use ringmain::log::{
    MANIFEST_COPY_BYTES, Manifest, Record, RecordHeader, RecordSeed, Salvage, SegmentFile,
    SegmentKind,
};
use ringmain::types::{ByteOffset, LogIndex, ShardId};
use tempfile::TempDir;

/// Kills a server where it stands.
fn kill(mut server: Server) {
    server.kill();
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

impl End {
    fn of(self, server: Server) {
        match self {
            Self::Stopped => drop(server.stop()),
            Self::Killed => kill(server),
        }
    }
}

/// What a tool answered.
#[derive(Debug)]
struct Answer {
    code: i32,
    out: String,
    error: String,
}

impl Answer {
    #[track_caller]
    fn expect(&self, code: i32, out: &[&str], error: &str) {
        assert_eq!(self.code, code, "{self:#?}");
        for words in out {
            assert!(self.out.contains(words), "no '{words}' in {self:#?}");
        }
        assert!(self.error.contains(error), "no '{error}' in {self:#?}");
        assert!(!self.error.contains("panicked"), "{self:#?}");
    }
}

fn tool(flags: &[&str], dir: &Path) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmain"));
    let (verbs, rest) = flags.split_at(2);
    let output = command.args(verbs).arg(dir).args(rest).stdin(Stdio::null()).output().unwrap();
    Answer {
        code: output.status.code().expect("no signal ended it"),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A data directory of one shard, with segments of 1 MiB, into which values are set one by one: each is a
/// record of its own.
struct Site {
    folder: TempDir,
}

/// Three of these fill a segment.
const VALUE_BYTES: usize = 300 * 1024;

impl Site {
    fn new() -> Self {
        Self { folder: TempDir::with_prefix("ringmain-test-").unwrap() }
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn launch(&self) -> Launch {
        Launch::shards(1).durable("sync").dir(self.dir()).flag("--segment-bytes", "1mb")
    }

    /// A server sets `keys`, and ends.
    fn set(&self, keys: std::ops::RangeInclusive<u64>, end: End) {
        let server = self.launch().start();
        set(&server, keys);
        end.of(server);
    }

    /// A directory with the records 1 to `last`, of which each sets the key of its number.
    fn with_records(last: u64, end: End) -> Self {
        let site = Self::new();
        site.set(1..=last, end);
        site
    }

    fn shard(&self) -> PathBuf {
        self.dir().join("shard-0000")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shard().join(name)
    }

    /// All files and what is in them.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.shard()).unwrap().map(|entry| entry.unwrap());
        let read = |entry: fs::DirEntry| {
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        };
        entries.map(read).collect()
    }

    /// The names of segments with records in them, in order.
    fn segments(&self, kind: SegmentKind) -> Vec<String> {
        let mut names: Vec<String> = self.files().into_keys().collect();
        names.retain(|name| {
            SegmentFile::parse(name).is_some_and(|file| file.kind == kind)
                && !self.records_of(name).is_empty()
        });
        names
    }

    /// What the checksums of its records begin with.
    fn seed(&self) -> RecordSeed {
        let layout = ringmain::server::data_dir::read_layout(self.dir()).unwrap().unwrap();
        RecordSeed::of(&layout.id)
    }

    /// Where the records of a segment are.
    fn records_of(&self, name: &str) -> Vec<(LogIndex, ByteOffset)> {
        let bytes = fs::read(self.path(name)).unwrap();
        let id = SegmentFile::parse(name).unwrap().id;
        let records = Salvage::new(&bytes, (ShardId(0), id), self.seed(), ByteOffset(0));
        records.map(|(at, record)| (record.header.index, at)).collect()
    }

    /// The segment that holds a record, and where in it that is.
    fn place_of(&self, index: u64) -> (String, u64) {
        for name in self.segments(SegmentKind::Log) {
            for (found, at) in self.records_of(&name) {
                if found == LogIndex(index) {
                    return (name, at.0);
                }
            }
        }
        panic!("no record {index}");
    }

    /// Changes one bit of a file.
    fn flip(&self, name: &str, at: u64) {
        let file = OpenOptions::new().read(true).write(true).open(self.path(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }

    /// Checks that a server starts and has the keys 1 to `last`, and that what it writes is there after
    /// another start.
    #[track_caller]
    fn serves(&self, last: u64) {
        let server = self.launch().start();
        check(&server, last);
        set(&server, last + 1..=last + 1);
        kill(server);
        let server = self.launch().start();
        check(&server, last + 1);
        server.stop();
        tool(&["log", "verify"], self.dir()).expect(0, &["well: "], "");
    }

    /// Checks that the log is damaged, that no server starts, that a repair is offered in words that
    /// contain `offers`, and that it leaves the keys 1 to `last`.
    #[track_caller]
    fn is_repaired(&self, offers: &[&str], last: u64) {
        tool(&["log", "verify"], self.dir()).expect(1, &["DAMAGED"], "log repair");
        let output = self.launch().fail_to_start();
        assert!(output.contains("ringmain log verify"), "{output}");
        self.is_mended(offers, last);
    }

    /// The same where a server would start all the same.
    #[track_caller]
    fn is_mended(&self, offers: &[&str], last: u64) {
        let before = self.files();
        tool(&["log", "repair"], self.dir()).expect(1, offers, "Nothing was changed");
        assert!(self.files() == before, "something was changed");
        tool(&["log", "repair", "--yes"], self.dir()).expect(0, offers, "");
        tool(&["log", "verify"], self.dir()).expect(0, &["well: "], "");
        tool(&["log", "repair"], self.dir()).expect(0, &["nothing to repair"], "");
        self.serves(last);
    }
}

fn value(key: u64) -> String {
    let number = key.to_string();
    number.repeat(VALUE_BYTES / number.len())
}

fn set(server: &Server, keys: std::ops::RangeInclusive<u64>) {
    let mut client = server.client();
    for key in keys {
        assert_eq!(client.command(&["SET", &format!("key:{key}"), &value(key)]), Value::ok());
    }
}

#[track_caller]
fn check(server: &Server, last: u64) {
    let mut client = server.client();
    assert_eq!(client.words("DBSIZE").integer(), i64::try_from(last).unwrap());
    for key in 1..=last {
        let found = client.words(&format!("GET key:{key}")).text();
        assert!(found == value(key), "key:{key} has another value");
    }
}

#[test]
fn what_a_server_leaves_behind_is_well() {
    if skip_on_other_server() {
        return;
    }
    for end in [End::Stopped, End::Killed] {
        let site = Site::with_records(7, end);
        let answer = tool(&["log", "verify"], site.dir());
        answer.expect(0, &["1 shard, id ", "records 1 to 3", "well: ", "up to record 7"], "");
        assert_eq!(answer.out.contains("stopped cleanly after record 7"), end == End::Stopped);
        tool(&["log", "repair"], site.dir()).expect(0, &["shard 0: nothing to repair"], "");
        site.serves(7);
    }
}

#[test]
fn a_directory_that_is_in_use_or_is_none_is_left_alone() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::new();
    let server = site.launch().start();
    for verb in ["verify", "dump", "repair"] {
        tool(&["log", verb], site.dir()).expect(2, &[], "is in use by another server or tool");
    }
    server.stop();
    tool(&["log", "verify", "--shard", "1"], site.dir()).expect(2, &[], "--shard can't be 1");
    tool(&["log", "verify", "--shards"], site.dir()).expect(2, &[], "unexpected argument");
    let empty = TempDir::new().unwrap();
    tool(&["log", "verify"], empty.path()).expect(2, &[], "is no data directory");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "nothing is made there");
    tool(&["log", "verify"], &empty.path().join("none")).expect(2, &[], "There is no directory");
}

/// A directory is made with all its shards: one that is missing is never taken for a new one.
#[test]
fn a_shard_that_is_missing_begins_empty_only_when_told_to() {
    if skip_on_other_server() {
        return;
    }
    for is_folder_left in [false, true] {
        for records in [0, 3] {
            let site = Site::new();
            let server = site.launch().start();
            set(&server, 1..=records);
            kill(server);
            fs::remove_dir_all(site.shard()).unwrap();
            if is_folder_left {
                fs::create_dir(site.shard()).unwrap();
            }
            let gone = "the manifest is missing, and so is everything else of the shard";
            let output = site.launch().fail_to_start();
            assert!(output.contains(gone) && output.contains("from a copy"), "{output}");
            assert!(output.contains("ringmain log repair"), "{output}");
            tool(&["log", "verify"], site.dir()).expect(1, &["DAMAGED", gone], "log repair");
            tool(&["log", "dump"], site.dir()).expect(1, &[], gone);
            let offer = "Or go on without its data: the shard begins empty";
            tool(&["log", "repair"], site.dir()).expect(1, &[gone, offer], "Nothing was changed");
            assert_eq!(site.shard().exists(), is_folder_left);
            tool(&["log", "repair", "--yes"], site.dir()).expect(0, &[offer], "");
            site.serves(0);
        }
    }
}

/// What the layout said stands in the manifests too.
#[test]
fn a_lost_layout_is_made_again_from_the_shards() {
    if skip_on_other_server() {
        return;
    }
    for damage in [None, Some(""), Some("format = 1\nshards = "), Some("\u{0}\u{0}\u{0}")] {
        let site = Site::with_records(3, End::Killed);
        let layout = site.dir().join("layout");
        let before = fs::read_to_string(&layout).unwrap();
        match damage {
            None => fs::remove_file(&layout).unwrap(),
            Some(text) => fs::write(&layout, text).unwrap(),
        }
        let output = site.launch().fail_to_start();
        assert!(output.contains("ringmain log repair"), "{output}");
        tool(&["log", "verify"], site.dir()).expect(1, &[], "ringmain log repair");
        let offer = "Write it again as 1 manifest of 1 shard has it";
        tool(&["log", "repair"], site.dir()).expect(1, &[offer], "Nothing was changed");
        assert_eq!(fs::read_to_string(&layout).ok().as_deref(), damage);
        tool(&["log", "repair", "--yes"], site.dir()).expect(0, &[offer, "nothing to repair"], "");
        assert_eq!(fs::read_to_string(&layout).unwrap(), before);
        site.serves(3);
    }
    // It may be another directory's too, or name another number of shards.
    let (site, other) = (Site::with_records(3, End::Killed), Site::with_records(3, End::Killed));
    let layout = site.dir().join("layout");
    let before = fs::read_to_string(&layout).unwrap();
    for wrong in [
        fs::read_to_string(other.dir().join("layout")).unwrap(),
        before.replace("shards = 1", "shards = 2"),
    ] {
        assert_ne!(wrong, before);
        fs::write(&layout, &wrong).unwrap();
        site.launch().fail_to_start();
        let offer = "another directory's. Write it again as 1 manifest of 1 shard has it";
        tool(&["log", "repair"], site.dir()).expect(1, &[offer], "Nothing was changed");
        assert_eq!(fs::read_to_string(&layout).unwrap(), wrong);
        tool(&["log", "repair", "--yes"], site.dir()).expect(0, &[offer, "nothing to repair"], "");
        assert_eq!(fs::read_to_string(&layout).unwrap(), before);
    }
    site.serves(3);
    // Not where another version wrote it, nor where shards do not agree or do not tell.
    let site = Site::with_records(3, End::Killed);
    let layout = site.dir().join("layout");
    fs::write(&layout, "format = 2").unwrap();
    tool(&["log", "repair", "--yes"], site.dir()).expect(1, &[], "its format is 2");
    let other = Site::with_records(3, End::Killed);
    fs::remove_file(&layout).unwrap();
    fs::create_dir(site.dir().join("shard-0001")).unwrap();
    let manifest = site.dir().join("shard-0001/manifest");
    fs::copy(other.path("manifest"), &manifest).unwrap();
    tool(&["log", "repair", "--yes"], site.dir()).expect(1, &[], "more than one directory");
    fs::write(&manifest, "").unwrap();
    fs::write(site.path("manifest"), "").unwrap();
    tool(&["log", "repair", "--yes"], site.dir()).expect(1, &[], "no shard has a manifest");
    assert!(!layout.exists());
}

#[test]
fn records_are_printed() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::new();
    let server = site.launch().start();
    let mut client = server.client();
    client.ok("SET a old");
    client.ok("SAVE");
    for args in [
        &["SET", "a", "x\ny\"\\"][..],
        &["APPEND", "a", "z"],
        &["SET", "\u{1}", "v", "PXAT", "4102444800000"],
        &["PERSIST", "\u{1}"],
        &["DEL", "\u{1}"],
        &["SET", "long", &"l".repeat(100)],
        &["FLUSHDB"],
        &["SET", "b", "1"],
        &["SWAPDB", "0", "3"],
    ] {
        let reply = client.command(args);
        assert!(!matches!(reply, Value::Error(_)), "{reply:?}");
    }
    kill(server);
    let answer = tool(&["log", "dump"], site.dir());
    answer.expect(0, &["# shard 0\nsnapshot 20"], "");
    let lines: Vec<&str> = answer.out.lines().skip(1).collect();
    let rest = |line: &str| line.split_once(" db").unwrap().1.to_owned();
    let shown: Vec<String> = lines.iter().map(|line| rest(line)).collect();
    assert_eq!(
        shown,
        [
            "0 entry \"a\" \"old\"".to_owned(),
            r#"0 set "a" "x\ny\"\\""#.to_owned(),
            r#"0 edit "a" length 6, at 5 "z""#.to_owned(),
            r#"0 set "\x01" "v" expires 2100-01-01T00:00:00.000Z"#.to_owned(),
            r#"0 expire "\x01" never"#.to_owned(),
            r#"0 remove "\x01""#.to_owned(),
            format!("0 set \"long\" \"{}\"... (100 bytes)", "l".repeat(64)),
            "0 flush".to_owned(),
            "0 set \"b\" \"1\"".to_owned(),
            "0 swap with db 3".to_owned(),
        ]
    );
    assert!(lines[1].starts_with("2 20"), "{}", lines[1]);
    // What concerns whole databases concerns every key.
    let answer = tool(&["log", "dump", "--from", "3", "--key", "l*", "--json"], site.dir());
    let lines: Vec<&str> = answer.out.lines().collect();
    assert_eq!(lines.len(), 3, "{answer:#?}");
    assert!(lines[0].starts_with("{\"shard\":0,\"index\":7,\"time_ms\":"), "{}", lines[0]);
    let end = format!(
        ",\"db\":0,\"kind\":\"set\",\"key\":\"long\",\"value\":\"{}\",\"expires_at_ms\":null}}",
        "l".repeat(100)
    );
    assert!(lines[0].ends_with(&end), "{}", lines[0]);
    assert!(lines[1].ends_with("\"kind\":\"flush\"}") && lines[2].ends_with("\"with\":3}"));
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_dump() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::with_records(4, End::Stopped);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringmain"))
        .args(["log", "dump", "--json"])
        .arg(site.dir())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("key:1"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_damaged_middle_is_cut_only_when_told_to() {
    if skip_on_other_server() {
        return;
    }
    // In the first segment, at the beginning, the middle and the end of the second, in the newest.
    for index in [2, 4, 5, 6, 7] {
        for end in [End::Stopped, End::Killed] {
            let site = Site::with_records(8, end);
            let (name, at) = site.place_of(index);
            site.flip(&name, at + 5000);
            let damaged = format!("'{name}' is damaged at byte {at}: the checksum is wrong");
            let answer = tool(&["log", "verify"], site.dir());
            answer.expect(1, &["DAMAGED at byte", &damaged], "Shard 0 is damaged");
            let lost = 8 - index;
            let later =
                if lost == 1 { "1 later record".into() } else { format!("{lost} later records") };
            let offers = [&damaged, &format!("{later} that can still be read")[..]];
            let before = site.files();
            // What is still there can be seen.
            let answer = tool(&["log", "dump"], site.dir());
            answer.expect(1, &["\"key:1\"", "# behind the damage", "\"key:8\""], "is damaged");
            assert!(!answer.out.contains(&format!("\"key:{index}\"")), "{}", answer.out);
            site.is_repaired(&offers, index - 1);
            // What was cut away is kept, byte for byte.
            let after = site.files();
            let first_of_segment = site.place_is_first(&before[&name], index);
            let (kept, from) = match first_of_segment {
                true => (format!("{name}.cut-0"), 0),
                false => (format!("{name}.cut-{at}"), usize::try_from(at).unwrap()),
            };
            let tail = &before[&name][from..];
            assert!(tail.starts_with(&after[&kept]), "{kept}");
            assert!(tail[after[&kept].len()..].iter().all(|byte| *byte == 0), "{kept}");
        }
    }
}

impl Site {
    /// Whether a record was the first of the segment in `bytes`.
    fn place_is_first(&self, bytes: &[u8], index: u64) -> bool {
        u64::from_le_bytes(*bytes[24..].first_chunk().unwrap()) == index
    }
}

#[test]
fn a_torn_tail_is_well() {
    if skip_on_other_server() {
        return;
    }
    // Nothing says that the last record was ever on disk.
    let site = Site::with_records(5, End::Killed);
    let (name, at) = site.place_of(5);
    site.flip(&name, at + 100_000);
    let torn = format!("torn at byte {at}: the checksum is wrong");
    tool(&["log", "verify"], site.dir()).expect(0, &[&torn, "well: ", "torn tail"], "");
    tool(&["log", "repair"], site.dir()).expect(0, &["nothing to repair"], "");
    // The server cuts it, and says so.
    let server = site.launch().start();
    check(&server, 4);
    let output = server.output();
    let said = format!("file=\"{name}\" at={at}");
    assert!(output.contains("ended in a torn record, which nobody was promised"), "{output}");
    assert!(output.contains(&said), "no {said} in {output}");
    kill(server);
    site.serves(4);
    // After a clean stop it was there.
    let site = Site::with_records(5, End::Stopped);
    let (name, at) = site.place_of(5);
    site.flip(&name, at + 100_000);
    site.is_repaired(&["the records 5 to 5 are in no file"], 4);
}

#[test]
fn a_truncated_segment_is_cut() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::with_records(8, End::Killed);
    let (name, at) = site.place_of(5);
    let file = OpenOptions::new().write(true).open(site.path(&name)).unwrap();
    file.set_len(at + 1000).unwrap();
    site.is_repaired(&["2 later records that can still be read", "after record 4"], 4);
    // To nothing at all.
    let site = Site::with_records(8, End::Killed);
    fs::write(site.path(&name), b"").unwrap();
    site.is_repaired(&["2 later records that can still be read", "after record 3"], 3);
}

#[test]
fn a_missing_segment_is_where_the_log_can_end() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::with_records(8, End::Killed);
    let (name, _) = site.place_of(5);
    fs::remove_file(site.path(&name)).unwrap();
    site.is_repaired(&["is missing", "2 later records", "after record 3"], 3);
    // The first: nothing is left, and nothing is hidden.
    let site = Site::with_records(8, End::Killed);
    let (name, _) = site.place_of(1);
    fs::remove_file(site.path(&name)).unwrap();
    site.is_repaired(&["is missing", "5 later records", "the shard will be empty"], 0);
    assert_eq!(site.files().keys().filter(|name| name.contains(".seg.cut-0")).count(), 2);
    // The first behind a snapshot: what is in that is left.
    let site = Site::new();
    let server = site.launch().start();
    set(&server, 1..=4);
    server.client().ok("SAVE");
    set(&server, 5..=8);
    kill(server);
    let (name, _) = site.place_of(5);
    fs::remove_file(site.path(&name)).unwrap();
    site.is_repaired(&["is missing", "2 later records", "after record 4"], 4);
}

/// A segment of records that are all in the snapshot may still be there, and is not needed.
#[test]
fn what_the_snapshot_has_may_be_damaged_in_the_log() {
    if skip_on_other_server() {
        return;
    }
    for damage in ["missing", "header", "record"] {
        let site = Site::new();
        let server = site.launch().start();
        set(&server, 1..=3);
        server.client().ok("SAVE");
        set(&server, 4..=8);
        kill(server);
        let ((old, at), (next, _)) = (site.place_of(3), site.place_of(4));
        assert_ne!(old, next, "record 4 begins a segment");
        match damage {
            "missing" => fs::remove_file(site.path(&old)).unwrap(),
            "header" => site.flip(&old, 30),
            _ => site.flip(&old, at + 100),
        }
        tool(&["log", "verify"], site.dir()).expect(0, &["well: "], "");
        tool(&["log", "repair"], site.dir()).expect(0, &["nothing to repair"], "");
        site.serves(8);
    }
}

#[test]
fn a_header_that_is_damaged_ends_the_log() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::with_records(8, End::Killed);
    let (name, _) = site.place_of(5);
    site.flip(&name, 30);
    site.is_repaired(&["the checksum of its header is wrong", "5 later records"], 3);
}

#[test]
fn a_record_that_makes_no_sense_is_damage() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::with_records(8, End::Killed);
    let (name, at) = site.place_of(5);
    let bytes = fs::read(site.path(&name)).unwrap();
    let record = Record::decode(&bytes[usize::try_from(at).unwrap()..], site.seed()).unwrap();
    let mut payload = record.payload.to_vec();
    // The kind of the first change.
    payload[16] = 0x1f;
    let header = RecordHeader { ..record.header }.encode(&payload);
    let file = OpenOptions::new().write(true).open(site.path(&name)).unwrap();
    file.write_all_at(&[&header[..], &payload].concat(), at).unwrap();
    let makes_no_sense = format!("makes no sense at byte {at}");
    site.is_repaired(&[&makes_no_sense, "3 later records", "after record 4"], 4);
}

#[test]
fn a_manifest_is_written_again() {
    if skip_on_other_server() {
        return;
    }
    for (snapshot_after, end) in
        [(None, End::Killed), (None, End::Stopped), (Some(4), End::Killed), (Some(8), End::Stopped)]
    {
        let make = || {
            let site = Site::new();
            let server = site.launch().start();
            for key in 1..=8 {
                set(&server, key..=key);
                if snapshot_after == Some(key) {
                    server.client().ok("SAVE");
                }
            }
            end.of(server);
            site
        };
        // One copy, the older or the newer: the other tells.
        let copy_bytes = u64::try_from(MANIFEST_COPY_BYTES).unwrap();
        for at in [40, copy_bytes + 40] {
            let site = make();
            site.flip("manifest", at);
            tool(&["log", "verify"], site.dir()).expect(1, &["DAMAGED: one copy"], "log repair");
            let bytes = fs::read(site.path("manifest")).unwrap();
            let holds = Manifest::decode(&bytes).unwrap();
            let is_old = holds.snapshot.is_none() && snapshot_after.is_some();
            let offers =
                if is_old { "the other names files that are gone" } else { "Write it again from" };
            site.is_mended(&["one copy of the manifest is damaged", offers], 8);
        }
        // Both, or the whole file: the segments tell.
        let site = make();
        site.flip("manifest", 40);
        site.flip("manifest", copy_bytes + 40);
        site.is_repaired(&["both copies of the manifest are damaged or missing"], 8);
        let site = make();
        fs::remove_file(site.path("manifest")).unwrap();
        site.is_repaired(&["both copies of the manifest are damaged or missing"], 8);
        // And the log is damaged too.
        let site = make();
        fs::remove_file(site.path("manifest")).unwrap();
        if snapshot_after.is_none() {
            let (name, at) = site.place_of(5);
            site.flip(&name, at + 5000);
            site.is_repaired(&["both copies of the manifest", "after record 4"], 4);
        }
    }
}

#[test]
fn a_manifest_without_a_beginning_is_lost() {
    if skip_on_other_server() {
        return;
    }
    let site = Site::with_records(8, End::Killed);
    let (name, _) = site.place_of(1);
    fs::remove_file(site.path(&name)).unwrap();
    fs::remove_file(site.path("manifest")).unwrap();
    tool(&["log", "verify"], site.dir()).expect(1, &["does not begin at the first"], "repair");
    let answer = tool(&["log", "repair", "--yes"], site.dir());
    answer.expect(1, &["it can't be made again", "move '"], "1 shard can't be repaired");
    tool(&["log", "dump"], site.dir()).expect(1, &["\"key:8\""], "");
}

#[test]
fn a_damaged_snapshot_is_not_repaired() {
    if skip_on_other_server() {
        return;
    }
    for is_missing in [false, true] {
        let site = Site::new();
        let server = site.launch().start();
        set(&server, 1..=4);
        server.client().ok("SAVE");
        set(&server, 5..=8);
        kill(server);
        let name = site.segments(SegmentKind::Snapshot).remove(0);
        if is_missing {
            fs::remove_file(site.path(&name)).unwrap();
        } else {
            site.flip(&name, 100_000);
        }
        tool(&["log", "verify"], site.dir()).expect(1, &["DAMAGED", &name], "Shard 0 is damaged");
        let before = site.files();
        let answer = tool(&["log", "repair", "--yes"], site.dir());
        answer.expect(1, &["can't be repaired", "move '"], "1 shard can't be repaired");
        assert!(site.files() == before, "something was changed");
        // What can still be read is.
        tool(&["log", "dump"], site.dir()).expect(1, &["\"key:8\""], "is damaged");
        assert!(site.launch().fail_to_start().contains(&name));
        // As the tool says: without its folder the shard begins empty.
        fs::rename(site.shard(), site.dir().join("moved-away")).unwrap();
        tool(&["log", "repair", "--shard", "0", "--yes"], site.dir()).expect(0, &[], "");
        site.serves(0);
    }
}

impl Site {
    /// Has the end of the snapshot say that its entries have seen all up to record `index`.
    fn snapshot_saw(&self, index: u64) {
        let name = self.segments(SegmentKind::Snapshot).remove(0);
        let at = self.records_of(&name).last().unwrap().1.0;
        let bytes = fs::read(self.path(&name)).unwrap();
        let end = Record::decode(&bytes[usize::try_from(at).unwrap()..], self.seed()).unwrap();
        let mut payload = end.payload.to_vec();
        payload[8..].copy_from_slice(&index.to_le_bytes());
        let header = RecordHeader { ..end.header }.encode(&payload);
        let file = OpenOptions::new().write(true).open(self.path(&name)).unwrap();
        file.write_all_at(&[&header[..], &payload].concat(), at).unwrap();
    }
}

/// The snapshot has seen records that the log does not have any more.
#[test]
fn a_log_that_ends_before_its_snapshot_goes_on_behind_it() {
    if skip_on_other_server() {
        return;
    }
    let with_snapshot = |end: End| {
        let site = Site::new();
        let server = site.launch().start();
        set(&server, 1..=4);
        server.client().ok("SAVE");
        set(&server, 5..=8);
        end.of(server);
        site
    };
    let last_index = |site: &Site| {
        let last = |name: &String| site.records_of(name).last().unwrap().0;
        site.segments(SegmentKind::Log).iter().map(last).max().unwrap()
    };
    // The newest segment is missing.
    let site = with_snapshot(End::Killed);
    site.snapshot_saw(12);
    let newest = site.segments(SegmentKind::Log).pop().unwrap();
    let kept = site.records_of(&newest)[0].0.0 - 1;
    fs::remove_file(site.path(&newest)).unwrap();
    let missing = format!("The records {} to 12 are in no file", kept + 1);
    site.is_repaired(&["holds entries as they were after record 12", &missing], kept);
    // What came after the repair has the next indices.
    assert_eq!(last_index(&site), LogIndex(13));
    // All of the log is.
    let site = with_snapshot(End::Stopped);
    site.snapshot_saw(9);
    for name in site.segments(SegmentKind::Log) {
        fs::remove_file(site.path(&name)).unwrap();
    }
    site.is_repaired(&["the records 5 to 8 are in no file"], 4);
    assert_eq!(last_index(&site), LogIndex(10));
    // It is damaged before that: it is cut, and goes on behind what the snapshot has seen.
    let site = with_snapshot(End::Killed);
    site.snapshot_saw(8);
    let (name, at) = site.place_of(6);
    site.flip(&name, at + 5000);
    site.is_repaired(&["is damaged at byte", "empty records take the places"], 5);
    assert_eq!(last_index(&site), LogIndex(9));
}

#[test]
fn each_shard_is_looked_at_by_itself() {
    if skip_on_other_server() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let launch = Launch::shards(3).durable("sync").dir(folder.path());
    let server = launch.start();
    let mut client = server.client();
    for key in 0..100 {
        client.ok(&format!("SET {key} {key}"));
    }
    kill(server);
    let damaged = folder
        .path()
        .join("shard-0001")
        .join(SegmentFile::log(ringmain::types::SegmentId(1)).name());
    let file = OpenOptions::new().write(true).open(damaged).unwrap();
    file.write_all_at(b"damage", 4096 + 60).unwrap();
    let verify = |shard| tool(&["log", "verify", "--shard", shard], folder.path()).code;
    assert_eq!(["0", "1", "2"].map(verify), [0, 1, 0]);
    tool(&["log", "verify"], folder.path()).expect(1, &["shard 2 in"], "Shard 1 is damaged");
    tool(&["log", "repair", "--yes"], folder.path()).expect(0, &["shard 0: nothing"], "");
    let server = launch.start();
    let keys = server.client().words("DBSIZE").integer();
    assert!((40..100).contains(&keys), "{keys}");
    server.stop();
    fs::remove_dir_all(folder.path().join("shard-0002")).unwrap();
    tool(&["log", "verify"], folder.path()).expect(1, &["everything else"], "Shard 2 is");
}
