//! A trace to replay: a thread reads the file in bounded memory, the connections take its requests one by
//! one, in the order of the trace.
//!
//! Requests that are on the way at the same time may reach the server in another order, as they do when many
//! clients use one cache; with one connection and depth 1 the order is exact.
//!
//! Timed replay sends each request at its time after the trace's first, divided by the speed. Many traces have
//! whole seconds only; requests of the same whole second are spread evenly over it, or every second would
//! begin with a burst that nobody sent.

mod layout;
mod lines;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread, vec};

use layout::{Layout, Line};
use lines::{LINE_BYTES_MAX, Lines};

use super::{Op, TraceOptions};

/// Requests handed over at once, and how many such batches wait: 1.5 MiB.
const BATCH: usize = 1_024;
const BATCHES_MAX: usize = 32;

/// Most requests of one second that are held to be spread over it; 10 MiB.
const SPREAD_MAX: usize = 256 * 1024;

/// When so many lines at the beginning make no sense, the layout is wrong.
const HOPELESS_LINES: u64 = 100;

const SECOND_NS: u64 = 1_000_000_000;

/// Slowest and fastest replay.
const SPEED_MIN: f64 = 1e-3;
const SPEED_MAX: f64 = 1e9;

/// A request of the trace and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) op: Op,
    /// Since the start of the run.
    pub(super) due: Duration,
}

/// A trace file, and a place in it that all sources share.
pub(super) struct Trace {
    options: TraceOptions,
    layout: Layout,
    /// `None` until the first run begins.
    feed: Mutex<Option<Feed>>,
    count: Arc<Mutex<Count>>,
}

/// What the reader thread hands over.
struct Feed {
    receiver: Option<Receiver<Vec<Record>>>,
    batch: vec::IntoIter<Record>,
}

/// What the reader thread came across.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Count {
    malformed: u64,
    /// The first malformed line: its number and what is wrong with it.
    first: Option<(u64, String)>,
    /// Why the file could not be read to its end, after which line.
    broken: Option<(u64, String)>,
}

impl Trace {
    /// Opens a trace and finds out its layout.
    pub(super) fn new(options: &TraceOptions) -> Result<Self, String> {
        if let Some(speed) = options.speed
            && !(SPEED_MIN..=SPEED_MAX).contains(&speed)
        {
            return Err(format!("--trace-speed {speed}: must be from {SPEED_MIN} to {SPEED_MAX}"));
        }
        let path = &options.path;
        let failed = |why: String| format!("--trace {}: {why}", path.display());
        let layout = detect(path, &options.format).map_err(failed)?;
        if options.speed.is_some() && !layout.has_time() {
            return Err(failed("has no timestamps that --trace-speed could follow".to_owned()));
        }
        let (feed, count) = (Mutex::default(), Arc::default());
        Ok(Self { options: options.clone(), layout, feed, count })
    }

    pub(super) fn is_timed(&self) -> bool {
        self.options.speed.is_some()
    }

    /// Begins at the first line.
    pub(super) fn begin(&self) -> Result<(), String> {
        let path = self.options.path.display();
        let lines =
            Lines::open(&self.options.path).map_err(|why| format!("--trace {path}: {why}"))?;
        let (sender, receiver) = sync_channel(BATCHES_MAX);
        *locked(&self.count) = Count::default();
        let mut reader = Reader {
            lines,
            layout: self.layout,
            count: self.count.clone(),
            pacing: Pacing::new(self.options.speed),
            batch: Vec::with_capacity(BATCH),
            sender,
        };
        // It ends with the file, or when the receiver is gone and it has a batch to hand over.
        thread::Builder::new()
            .name("trace".to_owned())
            .spawn(move || reader.run())
            .map_err(|why| format!("--trace {path}: no thread to read it: {why}"))?;
        *locked(&self.feed) =
            Some(Feed { receiver: Some(receiver), batch: Vec::new().into_iter() });
        Ok(())
    }

    /// The next request. Waits for the reader if need be, which waits for nobody but the file and, while
    /// there is enough to take, for the takers.
    pub(super) fn next(&self) -> Option<Record> {
        let mut feed = locked(&self.feed);
        let feed = feed.as_mut().expect("a run begins with Work::begin");
        loop {
            if let Some(record) = feed.batch.next() {
                return Some(record);
            }
            match feed.receiver.as_ref()?.recv() {
                Ok(batch) => feed.batch = batch.into_iter(),
                Err(_) => feed.receiver = None,
            }
        }
    }

    /// What was wrong with the file, in sentences.
    pub(super) fn remarks(&self) -> Vec<String> {
        let path = self.options.path.display();
        let count = locked(&self.count).clone();
        let malformed = count.first.map(|(number, why)| {
            let lines = if count.malformed == 1 { "line makes" } else { "lines make" };
            format!(
                "{} {lines} no sense in the trace {path} (layout: {}), first line {number}: {why}",
                count.malformed,
                self.layout.name()
            )
        });
        let broken = count.broken.map(|(number, why)| {
            format!("the trace {path} could not be read beyond line {number}: {why}")
        });
        malformed.into_iter().chain(broken).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds out the layout, and that the file has lines that make sense with it.
fn detect(path: &Path, format: &str) -> Result<Layout, String> {
    let failed = |why: io::Error| why.to_string();
    let mut lines = Lines::open(path).map_err(failed)?;
    let (mut line, mut layout, mut first_error) = (Vec::new(), None, None);
    while lines.number < HOPELESS_LINES && lines.next(&mut line).map_err(failed)? {
        if is_comment(&line) {
            continue;
        }
        let Some(layout) = layout else {
            let found = Layout::new(format, &line)?;
            layout = Some(found);
            if !found.has_header() && found.parse(&line).is_ok() {
                return Ok(found);
            }
            continue;
        };
        match layout.parse(&line) {
            Ok(_) => return Ok(layout),
            Err(why) => first_error = first_error.or(Some((lines.number, why))),
        }
    }
    Err(match (layout, first_error) {
        (Some(layout), Some((number, why))) => format!(
            "none of its first {} lines makes sense in the layout `{}`; line {number}: {why}",
            lines.number,
            layout.name()
        ),
        _ => "has no requests".to_owned(),
    })
}

/// Empty lines and those that begin with `#` ask for nothing.
fn is_comment(line: &[u8]) -> bool {
    matches!(line.trim_ascii().first(), None | Some(b'#'))
}

/// The thread that reads.
struct Reader {
    lines: Lines,
    layout: Layout,
    count: Arc<Mutex<Count>>,
    pacing: Pacing,
    batch: Vec<Record>,
    sender: SyncSender<Vec<Record>>,
}

/// The takers are gone.
struct Gone;

impl Reader {
    fn run(&mut self) {
        let mut line = Vec::with_capacity(1_024);
        let mut has_header = self.layout.has_header();
        loop {
            match self.lines.next(&mut line) {
                Ok(true) if is_comment(&line) => continue,
                // The first line that is no comment.
                Ok(true) if has_header => has_header = false,
                Ok(true) => match self.parse(&line) {
                    Ok(line) if self.accept(&line).is_err() => return,
                    Ok(_) => {}
                    Err(why) => self.complain(why),
                },
                Ok(false) => break,
                Err(why) => {
                    locked(&self.count).broken = Some((self.lines.number, why.to_string()));
                    break;
                }
            }
        }
        // Whether anybody still takes it makes no difference at the end.
        let _ = self.release().and_then(|()| self.hand_over());
    }

    fn parse(&self, line: &[u8]) -> Result<Line, String> {
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
        }
        self.layout.parse(line)
    }

    fn complain(&self, why: String) {
        let mut count = locked(&self.count);
        count.malformed += 1;
        count.first.get_or_insert((self.lines.number, why));
    }

    fn accept(&mut self, line: &Line) -> Result<(), Gone> {
        let op = Op {
            command: line.verb as u16,
            key: line.key,
            key_bytes: line.key_bytes,
            value_bytes: line.value_bytes,
            ttl_ms: line.ttl_ms,
            version: 0,
        };
        if self.pacing.ends_group(line.at_ns) {
            self.release()?;
        }
        self.pacing.group.push((line.at_ns, op));
        Ok(())
    }

    /// Gives the requests of the current group their times and hands them over.
    fn release(&mut self) -> Result<(), Gone> {
        let group = std::mem::take(&mut self.pacing.group);
        let count = group.len() as u64;
        for (index, (at_ns, op)) in group.iter().enumerate() {
            let due = self.pacing.due(*at_ns, index as u64, count);
            self.batch.push(Record { op: *op, due });
            if self.batch.len() == BATCH {
                self.hand_over()?;
            }
        }
        self.pacing.group = group;
        self.pacing.group.clear();
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), Gone> {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.sender.send(batch).map_err(|_| Gone)
    }
}

/// When requests are due.
struct Pacing {
    /// `None`: at once.
    speed: Option<f64>,
    /// Requests of the same time, which are spread if it is a whole second.
    group: Vec<(u64, Op)>,
    origin_ns: Option<u64>,
    /// Times never go back, even where the trace's do.
    latest_ns: u64,
}

impl Pacing {
    fn new(speed: Option<f64>) -> Self {
        Self { speed, group: Vec::new(), origin_ns: None, latest_ns: 0 }
    }

    /// Whether a request at `at_ns` belongs to another group than those before.
    fn ends_group(&self, at_ns: u64) -> bool {
        let bound = if self.speed.is_some() { SPREAD_MAX } else { 1 };
        self.group.len() >= bound || self.group.first().is_some_and(|(first, _)| *first != at_ns)
    }

    /// When the request at `at_ns`, number `index` of `count` in its group, is to be sent.
    fn due(&mut self, at_ns: u64, index: u64, count: u64) -> Duration {
        let Some(speed) = self.speed else { return Duration::ZERO };
        let spread = if at_ns.is_multiple_of(SECOND_NS) { SECOND_NS * index / count } else { 0 };
        let origin = *self.origin_ns.get_or_insert(at_ns);
        self.latest_ns = self.latest_ns.max((at_ns + spread).saturating_sub(origin));
        Duration::try_from_secs_f64(self.latest_ns as f64 / SECOND_NS as f64 / speed)
            .unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::layout::Verb;
    use super::{BATCH, BATCHES_MAX, Record, Trace, TraceOptions};

    fn options(path: PathBuf, speed: Option<f64>) -> TraceOptions {
        TraceOptions { path, format: "auto".to_owned(), speed }
    }

    /// A trace of `content`, begun.
    fn trace(
        content: &str,
        speed: Option<f64>,
    ) -> Result<(Trace, tempfile::NamedTempFile), String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let trace = Trace::new(&options(file.path().to_owned(), speed))?;
        trace.begin()?;
        Ok((trace, file))
    }

    fn records(trace: &Trace) -> Vec<Record> {
        std::iter::from_fn(|| trace.next()).collect()
    }

    #[test]
    fn lines_become_requests_in_order() {
        let content =
            "# a comment\n\ntimestamp,operation,key,size,ttl\n1,get,5,10,0\n1,set,6,20,3\r\n";
        let (trace, _file) = trace(content, None).unwrap();
        let seen: Vec<_> = records(&trace)
            .iter()
            .map(|record| {
                (record.op.command, record.op.key, record.op.value_bytes, record.op.ttl_ms)
            })
            .collect();
        assert_eq!(seen, [(Verb::Get as u16, 5, 10, 0), (Verb::Set as u16, 6, 20, 3_000)]);
        assert_eq!(trace.remarks(), [""; 0]);
        assert_eq!(trace.next(), None, "the end stays the end");
    }

    #[test]
    fn a_long_trace_is_read_whole_and_again() {
        let count = (BATCH * (BATCHES_MAX + 8) + 7) as u64;
        let content: String = (0..count).map(|key| format!("{key},get,{key},1\n")).collect();
        let (trace, _file) = trace(&content, None).unwrap();
        assert!((0..5_000).all(|key| trace.next().unwrap().op.key == key));
        trace.begin().unwrap();
        let keys: Vec<u64> = records(&trace).iter().map(|record| record.op.key).collect();
        assert!(keys.into_iter().eq(0..count));
    }

    #[test]
    fn broken_lines_are_counted_and_the_first_is_shown() {
        let mut content = "1,get,5,1\n2,frob,5,1\n3,set,6,x\n4,get,7,1\n".to_owned();
        content.push_str(&format!("5,get,{}\n6,get,8,1", "k".repeat(20_000)));
        let (trace, _file) = trace(&content, None).unwrap();
        let keys: Vec<u64> = records(&trace).iter().map(|record| record.op.key).collect();
        assert_eq!(keys, [5, 7, 8]);
        let remarks = trace.remarks();
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].starts_with("3 lines make no sense in the trace "), "{remarks:?}");
        assert!(remarks[0].contains("(layout: ringmain)"), "{remarks:?}");
        assert!(remarks[0].ends_with("first line 2: `frob` is no known operation"), "{remarks:?}");
    }

    #[test]
    fn a_file_that_breaks_off_is_told() {
        let many: String = (0..100_000).map(|key| format!("{key},get,{key},1\n")).collect();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(many.as_bytes()).unwrap();
        let whole = encoder.finish().unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&whole[..whole.len() / 2]).unwrap();
        let trace = Trace::new(&options(file.path().to_owned(), None)).unwrap();
        trace.begin().unwrap();
        assert!((10_000..90_000).contains(&records(&trace).len()));
        assert!(
            trace.remarks()[0].contains("could not be read beyond line "),
            "{:?}",
            trace.remarks()
        );
    }

    #[test]
    fn times_follow_the_trace_at_any_speed() {
        let dues = |content: &str, speed| -> Vec<Duration> {
            let (trace, _file) = trace(content, Some(speed)).unwrap();
            assert!(trace.is_timed());
            records(&trace).iter().map(|record| record.due).collect()
        };
        let ms = Duration::from_millis;
        assert_eq!(
            dues("100.5,get,1\n100.75,get,1\n100.75,get,1\n102.25,get,1\n", 1.0),
            [ms(0), ms(250), ms(250), ms(1_750)]
        );
        assert_eq!(dues("100.5,get,1\n102.5,get,1\n", 4.0), [ms(0), ms(500)]);
        assert_eq!(dues("1.1,get,1\n0.9,get,1\n1.2,get,1\n", 1.0), [ms(0), ms(0), ms(100)]);
        // Whole seconds are spread.
        assert_eq!(
            dues("7,get,1\n7,get,1\n7,get,1\n7,get,1\n8,get,1\n8,get,1\n", 1.0),
            [ms(0), ms(250), ms(500), ms(750), ms(1_000), ms(1_500)]
        );
    }

    #[test]
    fn traces_that_cannot_be_replayed_are_refused_in_a_sentence() {
        for (content, speed, part) in [
            ("", None, "has no requests"),
            ("# only this\n\n", None, "has no requests"),
            ("time,obj_id\n", None, "has no requests"),
            ("what is this\n", None, "looks like no known layout"),
            (
                "time,obj_id\nx,1\ny,2\n",
                None,
                "none of its first 3 lines makes sense in the layout",
            ),
            ("5\n6\n", Some(1.0), "has no timestamps that --trace-speed could follow"),
            ("1,get,5\n", Some(0.0), "--trace-speed 0: must be from 0.001 to"),
            ("1,get,5\n", Some(f64::NAN), "--trace-speed NaN"),
        ] {
            let error = trace(content, speed).err().unwrap();
            assert!(error.contains(part), "{content:?}: {error}");
        }
        let error = Trace::new(&options("/nonexistent/t.csv".into(), None)).err().unwrap();
        assert!(error.starts_with("--trace /nonexistent/t.csv: No such file"), "{error}");
    }
}
