//! What is asked of a server and what it may answer: mixes, key spaces, sizes, TTLs, traces, verification.
//!
//! [`Work`] is immutable and shared by all threads; a [`Source`] is one connection's own stream of
//! requests, drawn from the seed and the connection's number alone, so that a run can be repeated.
//!
//! | module | what it is |
//! |---|---|
//! | [`random`], [`choice`] | random numbers; a choice by weights |
//! | [`zipf`], [`keys`] | which keys are asked for |
//! | [`sizes`] | how long values are and live |
//! | [`values`], [`versions`] | what is in values; with `--verify`, which may be read |
//! | [`mod@mix`], [`command`] | `--mix` as text; what known commands do and answer |
//! | [`template`], [`plan`] | commands rendered in advance |
//! | [`binary`] | commands as operations of the binary protocol |
//! | [`trace`] | requests from a file |
//! | [`source`], [`judge`] | a connection's requests, and what replies say |

mod binary;
mod choice;
mod command;
mod judge;
mod keys;
mod mix;
mod plan;
mod random;
mod sizes;
mod source;
mod template;
#[cfg(test)]
mod tests;
mod trace;
mod values;
mod versions;
mod zipf;

use std::path::PathBuf;
use std::sync::Arc;

use ringmain::limits::{BINARY_FRAME_BODY_BYTES_MAX, BINARY_KEY_BYTES_MAX};
use ringmain::protocol::client::Element;

use choice::Choice;
use keys::Keys;
use plan::{Command, Plan};
use random::{Random, mix};
use sizes::{Sizes, Ttl};
pub(crate) use source::Source;
use trace::Trace;
use values::{Content, HEADER_BYTES, Values};
use versions::Versions;

/// Longest `--key-prefix`.
const KEY_PREFIX_BYTES_MAX: usize = 256;
/// Longest value that has its room in the text of a rendered command: beyond it, writing that text twice costs
/// more than it spares.
const RENDERED_BYTES_MAX: u32 = 256;
/// Longest value of a request in the binary protocol, its words together if they are several; extras and key
/// have room beside it in a frame.
const VALUE_BYTES_MAX: usize = BINARY_FRAME_BODY_BYTES_MAX - 2 * BINARY_KEY_BYTES_MAX;

/// The workload as the user gave it: text that [`Work::new`] understands or refuses.
#[derive(Clone, Debug)]
pub(crate) struct WorkOptions {
    /// `--mix`, one text an occurrence: `get=90,set=10`, `set {key} {value} ex {ttl}=10`.
    pub(crate) mix: Vec<String>,
    /// `--keys`: how many keys there are.
    pub(crate) keys: u64,
    /// `--key-dist`: `uniform`, `zipfian:0.99`, `hotspot:0.1:0.9`, `sequential`, `latest`.
    pub(crate) key_dist: String,
    /// `--key-prefix`; `key:` (with `--verify`: `verify:`) if it was not given.
    pub(crate) key_prefix: Option<String>,
    /// `--value-bytes`: `64`, `uniform:10-100`, `lognormal:300:1.2[:MAX]`, `64=70,512=30`.
    pub(crate) value_bytes: String,
    /// `--ttl`: `60`, `500ms`, `10s-60s`.
    pub(crate) ttl: Option<String>,
    /// `--seed`.
    pub(crate) seed: u64,
    /// `--verify`: values say which key's and which version they are, and every read is judged.
    pub(crate) verify: bool,
    /// `--fill-on-miss`: a read that misses is followed by a write of its key.
    pub(crate) fill_on_miss: bool,
    /// Whether the server is a cluster, in which a request's keys must share a slot.
    pub(crate) cluster: bool,
    /// Whether requests are made in the binary protocol.
    pub(crate) binary: bool,
    /// `--connections`: with `--verify`, each needs keys of its own.
    pub(crate) connections: u64,
    /// Seconds since the epoch, from which versions are counted, so that a later run's are higher.
    pub(crate) started_at_unix_s: u64,
    /// `--trace` and what belongs to it: replaces the mix.
    pub(crate) trace: Option<TraceOptions>,
}

/// A trace to replay.
#[derive(Clone, Debug)]
pub(crate) struct TraceOptions {
    /// `--trace`.
    pub(crate) path: PathBuf,
    /// `--trace-format`: `auto`, `ringmain`, `twitter`, `libcachesim`, or columns.
    pub(crate) format: String,
    /// `--trace-speed`: how many times as fast as recorded; `None`: as fast as the server answers.
    pub(crate) speed: Option<f64>,
}

impl Default for WorkOptions {
    fn default() -> Self {
        Self {
            mix: Vec::new(),
            keys: 100_000,
            key_dist: "uniform".to_owned(),
            key_prefix: None,
            value_bytes: "64".to_owned(),
            ttl: None,
            seed: 1,
            verify: false,
            fill_on_miss: false,
            cluster: false,
            binary: false,
            connections: 1,
            started_at_unix_s: 0,
            trace: None,
        }
    }
}

/// One request as drawn; small, kept for every request that has no reply yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Op {
    /// Which of [`Work::commands`].
    pub(crate) command: u16,
    /// A trace's key length, 0 where key names are all of one length.
    pub(crate) key_bytes: u16,
    /// Length of the value written; for a trace's read, of the value it should find.
    pub(crate) value_bytes: u32,
    /// Number of the (first) key.
    pub(crate) key: u64,
    /// With `--verify` the version written, or the least that may be read.
    pub(crate) version: u64,
    /// How long what is written lives, 0: for ever.
    pub(crate) ttl_ms: u32,
}

const _: () = assert!(size_of::<Op>() <= 32);

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Other,
}

/// One command of a mix or trace.
#[derive(Clone, Debug)]
pub(crate) struct CommandSpec {
    /// As reports show it.
    pub(crate) name: String,
}

/// One whole reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    /// Its first element: the reply itself, or the head of an aggregate.
    pub(crate) first: Element<'a>,
    /// All its bytes as they came, elements of an aggregate included.
    pub(crate) bytes: &'a [u8],
    /// How elements of an aggregate are to be read.
    coding: Coding,
}

impl<'a> Reply<'a> {
    /// A reply as RESP has it.
    #[inline]
    pub(crate) fn resp(first: Element<'a>, bytes: &'a [u8]) -> Self {
        Self { first, bytes, coding: Coding::Resp }
    }
}

/// How a reply's elements stand in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// As RESP, behind the head of the aggregate.
    Resp,
    /// As values of a get-many, behind their number.
    Values,
}

/// What a reply says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// A read that found its keys.
    Hit,
    /// A read that found at least one key missing.
    Miss,
    /// Anything else that is right.
    Done,
    /// An error reply: its code, the first word.
    Error(&'a [u8]),
    /// A reply of a type that the command does not answer, or a damaged value.
    Wrong,
    /// Nothing, where a write was acknowledged.
    Lost,
    /// An older value than was acknowledged before the read was sent.
    Stale,
    /// Another key's value, or one that nobody wrote.
    Foreign,
}

/// What reads have found so far; counted per key, so an `MGET` counts several times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Bytes of the values found.
    pub(crate) hit_bytes: u64,
    /// Bytes that the values not found have according to the trace (or would have had if written now).
    pub(crate) miss_bytes: u64,
}

/// How key numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Digits {
    /// In twelve digits, always.
    #[default]
    Twelve,
    /// In as many as a trace's key needs or has.
    Traced,
}

/// The workload, understood. Immutable but for what is known of versions, and shared.
pub(crate) struct Work {
    commands: Vec<Command>,
    specs: Vec<CommandSpec>,
    choice: Choice,
    /// The command that writes a key that is missing.
    fill: u16,
    fill_on_miss: bool,
    keys: Keys,
    sizes: Sizes,
    ttl: Option<Ttl>,
    values: Values,
    seed: u64,
    /// With `--verify`.
    versions: Option<Versions>,
    /// Whether keys may be gone without anybody having lost them.
    vanishes: bool,
    trace: Option<Trace>,
}

impl Work {
    /// Understands `options`.
    ///
    /// # Errors
    /// One sentence that says what makes no sense.
    pub(crate) fn new(options: &WorkOptions) -> Result<Self, String> {
        let usual = if options.verify { "verify:" } else { "key:" };
        let prefix = options.key_prefix.as_deref().unwrap_or(usual);
        if prefix.len() > KEY_PREFIX_BYTES_MAX {
            return Err(format!("--key-prefix is longer than {KEY_PREFIX_BYTES_MAX} bytes"));
        }
        if options.verify {
            check_verify(options)?;
        }
        let sizes = Sizes::new(&options.value_bytes, least_bytes(options))?;
        let is_plain = !options.verify && options.trace.is_none();
        let value_bytes = sizes.fixed().filter(|bytes| is_plain && *bytes <= RENDERED_BYTES_MAX);
        let plan = Plan::new(options, prefix, value_bytes)?;
        check_frames(&plan, &sizes)?;
        let keys = Keys::new(options.keys, &options.key_dist)?;
        let content = match (options.verify, &options.trace) {
            (true, _) => Content::Verified,
            (false, Some(_)) => Content::Numbers,
            (false, None) => Content::Plain,
        };
        // A trace's requests are not chosen; it needs no weights.
        let weights = if plan.weights.is_empty() { &[1.0][..] } else { &plan.weights };
        Ok(Self {
            choice: Choice::new(weights),
            commands: plan.commands,
            specs: plan.specs,
            fill: plan.fill,
            fill_on_miss: options.fill_on_miss,
            sizes,
            ttl: options.ttl.as_deref().map(Ttl::new).transpose()?,
            values: Values::new(options.seed, content),
            seed: options.seed,
            versions: options
                .verify
                .then(|| Versions::new(keys.count(), options.started_at_unix_s))
                .transpose()?,
            vanishes: plan.vanishes,
            trace: options.trace.as_ref().map(Trace::new).transpose()?,
            keys,
        })
    }

    /// The commands that [`Op::command`] counts. The last is `fill`, which only the fill phase and
    /// `--fill-on-miss` ask.
    pub(crate) fn commands(&self) -> &[CommandSpec] {
        &self.specs
    }

    /// Starts a run: a trace is read from its beginning. Called before the run's sources are made.
    ///
    /// # Errors
    /// One sentence, if the trace can't be read any more.
    pub(crate) fn begin(&self) -> Result<(), String> {
        self.trace.as_ref().map_or(Ok(()), Trace::begin)
    }

    /// The stream of one connection of `connections`. With `--verify` every connection needs its own;
    /// otherwise a thread may share one among its connections.
    pub(crate) fn source(self: &Arc<Self>, connection: usize, connections: usize) -> Source {
        Source::new(self, connection, connections)
    }

    /// The fill phase's part of one connection of `connections`: every key is written once.
    pub(crate) fn fill(self: &Arc<Self>, connection: usize, connections: usize) -> Source {
        Source::fill(self, connection, connections)
    }

    /// What is worth telling once a run is over, in sentences: lines of the trace that made no sense.
    pub(crate) fn remarks(&self) -> Vec<String> {
        self.trace.as_ref().map_or_else(Vec::new, Trace::remarks)
    }

    fn command(&self, op: &Op) -> &Command {
        &self.commands[usize::from(op.command)]
    }

    /// How long the value of `key`, which `op` asks for, is: as a trace says, or the same each time.
    fn size_of(&self, op: &Op, key: u64) -> u32 {
        if op.value_bytes > 0 {
            return op.value_bytes;
        }
        self.sizes.draw(&mut Random::new(self.seed, mix(key)))
    }

    /// The write of `key`, which is missing: by the fill phase, or because `op` missed it.
    fn write_of(&self, op: &Op, key: u64, random: &mut Random) -> Op {
        let value_bytes = self.size_of(op, key);
        let ttl_ms = self.ttl.map_or(0, |ttl| ttl.draw_ms(random));
        Op { command: self.fill, key, value_bytes, ttl_ms, version: 0, ..*op }
    }
}

/// Length below which values are not allowed to be.
fn least_bytes(options: &WorkOptions) -> u32 {
    if options.verify { HEADER_BYTES } else { 0 }
}

/// In the binary protocol every request must fit a frame.
fn check_frames(plan: &Plan, sizes: &Sizes) -> Result<(), String> {
    let op = Op { value_bytes: sizes.longest(), ..Op::default() };
    for (command, spec) in plan.commands.iter().zip(&plan.specs) {
        let forms = command.binary.iter().chain(&command.binary_with_ttl);
        if forms.map(|form| form.value.bytes(&op)).any(|bytes| bytes > VALUE_BYTES_MAX) {
            return Err(format!(
                "--mix `{}`: with values of {} bytes it would not fit a frame of the binary protocol",
                spec.name, op.value_bytes
            ));
        }
    }
    Ok(())
}

/// What `--verify` can't be combined with.
fn check_verify(options: &WorkOptions) -> Result<(), String> {
    if options.trace.is_some() {
        return Err("--verify needs keys of its own and can't follow those of a --trace".to_owned());
    }
    if options.fill_on_miss {
        return Err(
            "--verify and --fill-on-miss exclude each other: whoever misses a key would write \
                    it, but each key is written by one connection only"
                .to_owned(),
        );
    }
    if options.keys < options.connections {
        return Err(format!(
            "--keys {}: --verify needs at least one for each of {} connections",
            options.keys, options.connections
        ));
    }
    Ok(())
}
