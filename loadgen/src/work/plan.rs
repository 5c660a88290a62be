//! From a mix or a trace to the commands that are asked: built-in names resolved, nonsense refused,
//! everything rendered.

use super::binary::Form;
use super::command::{BUILT_IN, BuiltIn, Effect, Expect, Meaning, meaning};
use super::mix::{Entry, Piece, Words, parse, words};
use super::template::{Style, Template};
use super::{CommandSpec, Digits, Kind, WorkOptions};

/// The mix if none is given.
const MIX_USUAL: &str = "get=90,set=10";

/// What the command is called that writes keys that are missing.
const FILL: &str = "fill";

/// What a trace's operations stand for, in the order of `trace::layout::Verb`.
const TRACE: [BuiltIn; 9] = [
    traced("get", "get {key}", None),
    traced("set", "set {key} {value}", Some("set {key} {value} px {ttl_ms}")),
    traced("add", "set {key} {value} nx", Some("set {key} {value} nx px {ttl_ms}")),
    traced("replace", "set {key} {value} xx", Some("set {key} {value} xx px {ttl_ms}")),
    traced("append", "append {key} {value}", None),
    traced("delete", "del {key}", None),
    traced("incr", "incr {key}", None),
    traced("decr", "decr {key}", None),
    traced("touch", "touch {key}", Some("pexpire {key} {ttl_ms}")),
];

const fn traced(
    name: &'static str,
    template: &'static str,
    with_ttl: Option<&'static str>,
) -> BuiltIn {
    BuiltIn { name, template, with_ttl }
}

/// How a command is followed by `--verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Not at all.
    Apart,
    /// It reads one key: damage, foreign, stale and lost values show.
    Reads,
    /// It reads several: damage and foreign values show.
    ReadsMany,
    /// It writes one key.
    Writes,
}

/// A command ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) template: Template,
    /// The one for requests with a TTL, if that is another.
    pub(super) with_ttl: Option<Template>,
    /// The same in the binary protocol, if that is spoken.
    pub(super) binary: Option<Form>,
    pub(super) binary_with_ttl: Option<Form>,
    pub(super) kind: Kind,
    pub(super) expect: Expect,
    pub(super) role: Role,
    /// Whether a key that it misses is one that the fill command writes.
    pub(super) is_filled: bool,
    /// Whether requests draw a TTL.
    pub(super) draws_ttl: bool,
}

/// All commands of a run.
pub(super) struct Plan {
    pub(super) commands: Vec<Command>,
    pub(super) specs: Vec<CommandSpec>,
    /// Weights of the first commands, those of the mix; empty for a trace.
    pub(super) weights: Vec<f64>,
    /// The command of the fill phase and of `--fill-on-miss`.
    pub(super) fill: u16,
    /// Whether keys may be gone without anybody having lost them.
    pub(super) vanishes: bool,
}

/// A command on its way to be rendered.
struct Draft {
    name: String,
    words: Words,
    with_ttl: Option<Words>,
    weight: f64,
}

impl Plan {
    /// Understands the commands of `options`, whose keys' names begin with `prefix`; `value_bytes` as in
    /// [`Style`].
    pub(super) fn new(
        options: &WorkOptions,
        prefix: &str,
        value_bytes: Option<u32>,
    ) -> Result<Self, String> {
        let (mut drafts, digits) = match options.trace {
            Some(_) => (TRACE.iter().map(|row| draft(row, 1.0)).collect(), Digits::Traced),
            None => (mix(options)?, Digits::Twelve),
        };
        let weights = if options.trace.is_some() {
            Vec::new()
        } else {
            drafts.iter().map(|draft| draft.weight).collect()
        };
        let fill = fill(&drafts);
        let fill_key = numbered_key(&fill.words).unwrap_or_default();
        drafts.push(fill);
        let render =
            Render { options, style: Style { prefix, digits, value_bytes }, fill_key: &fill_key };
        let mut plan = Self {
            commands: Vec::new(),
            specs: Vec::new(),
            weights,
            fill: u16::try_from(drafts.len() - 1).expect("below COMMANDS_MAX"),
            vanishes: options.ttl.is_some(),
        };
        for draft in drafts {
            let (meaning, command) =
                render.command(&draft).map_err(|why| format!("--mix `{}`: {why}", draft.name))?;
            plan.vanishes |= meaning.vanishes;
            plan.specs.push(CommandSpec { name: draft.name });
            plan.commands.push(command);
        }
        Ok(plan)
    }
}

/// The commands of `--mix`.
fn mix(options: &WorkOptions) -> Result<Vec<Draft>, String> {
    let usual = [MIX_USUAL.to_owned()];
    let texts = if options.mix.is_empty() { &usual[..] } else { &options.mix };
    parse(texts)?.into_iter().map(resolve).collect()
}

/// An entry with its built-in name replaced by what it stands for.
fn resolve(entry: Entry) -> Result<Draft, String> {
    let Entry { text, words, weight } = entry;
    let [word] = words.as_slice() else {
        return Ok(Draft { name: text, words, with_ttl: None, weight });
    };
    let name = match word.as_slice() {
        [Piece::Text(name)] => String::from_utf8_lossy(name).to_ascii_lowercase(),
        _ => String::new(),
    };
    if let Some(row) = BUILT_IN.iter().find(|row| row.name == name) {
        return Ok(draft(row, weight));
    }
    if !meaning(&words).has_keys {
        return Ok(Draft { name, words, with_ttl: None, weight });
    }
    let names: Vec<&str> = BUILT_IN.iter().map(|row| row.name).collect();
    Err(format!(
        "--mix `{text}`: is no built-in command ({}); any other is written out with its placeholders, \
         like `set {{key}} {{value}} ex {{ttl}}`",
        names.join(", ")
    ))
}

fn draft(row: &BuiltIn, weight: f64) -> Draft {
    let own = |text: &str| words(text).expect("built-in commands make sense");
    Draft {
        name: row.name.to_owned(),
        words: own(row.template),
        with_ttl: row.with_ttl.map(own),
        weight,
    }
}

/// How a key that is missing is written: as a string, if the mix reads or writes strings, under the name
/// that it has there; or else by the first command that writes a value to one key.
fn fill(drafts: &[Draft]) -> Draft {
    let strings = drafts
        .iter()
        .filter(|draft| matches!(meaning(&draft.words).effect, Effect::Reads | Effect::Writes))
        .find_map(|draft| numbered_key(&draft.words));
    if let Some(key) = strings {
        return fill_string(&key);
    }
    let writes = |draft: &&Draft| {
        let pieces = || draft.words.iter().flatten();
        meaning(&draft.words).kind == Kind::Write
            && pieces().any(|piece| *piece == Piece::Value)
            && pieces().any(|piece| matches!(piece, Piece::Key(0) | Piece::Number(0)))
            && !pieces().any(|piece| matches!(piece, Piece::Key(1..) | Piece::Constant(_)))
    };
    drafts.iter().find(writes).map_or_else(
        || fill_string(&[Piece::Key(0)]),
        |draft| Draft {
            name: FILL.to_owned(),
            words: draft.words.clone(),
            with_ttl: draft.with_ttl.clone(),
            weight: 0.0,
        },
    )
}

/// The command's first word with a key's number in it.
fn numbered_key(words: &Words) -> Option<Vec<Piece>> {
    let is_number = |piece: &Piece| matches!(piece, Piece::Key(_) | Piece::Number(_));
    words.iter().find(|word| word.iter().any(is_number)).cloned()
}

/// Whether the values of a reply are those of the command's `{key}`s, one by one. A single value is.
fn has_only_keys(words: &Words, expect: Expect) -> bool {
    !matches!(expect, Expect::Values(_))
        || words[1..].iter().all(|word| matches!(word.as_slice(), [Piece::Key(_)]))
}

fn fill_string(key: &[Piece]) -> Draft {
    let with_key = |text: &str| {
        let mut words = words(text).expect("it makes sense");
        words[1] = key.to_vec();
        words
    };
    Draft {
        name: FILL.to_owned(),
        words: with_key("set {key} {value}"),
        with_ttl: Some(with_key("set {key} {value} px {ttl_ms}")),
        weight: 0.0,
    }
}

struct Render<'a> {
    options: &'a WorkOptions,
    style: Style<'a>,
    fill_key: &'a [Piece],
}

impl Render<'_> {
    fn command(&self, draft: &Draft) -> Result<(Meaning, Command), String> {
        let meaning = meaning(&draft.words);
        self.check_keys(&draft.words, meaning)?;
        let template = Template::new(&draft.words, self.style)?;
        let with_ttl = match &draft.with_ttl {
            Some(words) => Some(Template::new(words, self.style)?),
            None => None,
        };
        let form = |words| Form::new(words, self.style);
        let (mut binary, mut binary_with_ttl) = (None, None);
        if self.options.binary {
            binary = Some(form(&draft.words)?);
            binary_with_ttl = draft.with_ttl.as_ref().map(form).transpose()?;
        }
        if template.has_ttl && self.options.ttl.is_none() {
            return Err("asks for a {ttl}, which --ttl would give".to_owned());
        }
        let role = if self.options.verify { role(&draft.words, meaning)? } else { Role::Apart };
        let draws_ttl = self.options.ttl.is_some() && (template.has_ttl || with_ttl.is_some());
        let (kind, expect) = (meaning.kind, meaning.expect);
        let is_filled = has_only_keys(&draft.words, expect)
            && numbered_key(&draft.words).is_some_and(|key| key == self.fill_key);
        let command = Command {
            template,
            with_ttl,
            binary,
            binary_with_ttl,
            kind,
            expect,
            role,
            is_filled,
            draws_ttl,
        };
        Ok((meaning, command))
    }

    fn check_keys(&self, words: &Words, meaning: Meaning) -> Result<(), String> {
        let pieces = || words.iter().flatten();
        let names_key =
            |piece: &Piece| matches!(piece, Piece::Key(_) | Piece::Number(_) | Piece::Constant(_));
        if meaning.has_keys && !pieces().any(names_key) {
            return Err(
                "has no key placeholder: {key} or {n} where the key stands, or {=NAME} for a \
                        key that is always the same"
                    .to_owned(),
            );
        }
        let keys = pieces().filter(|piece| matches!(piece, Piece::Key(_))).count();
        // The binary protocol has no such rule, unless the server itself is configured so.
        let must_share_slot = self.options.cluster && !self.options.binary;
        if must_share_slot && keys > 1 && !has_hash_tag(self.style.prefix) {
            return Err(
                "names several keys, which in a cluster must share a slot; a --key-prefix with \
                        a hash tag like {a}: sees to that"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// Whether all keys that begin so are in one slot.
fn has_hash_tag(prefix: &str) -> bool {
    prefix.split_once('{').and_then(|(_, rest)| rest.find('}')).is_some_and(|length| length > 0)
}

/// What `--verify` can make of a command.
fn role(words: &Words, meaning: Meaning) -> Result<Role, String> {
    let keys = words.iter().flatten().filter(|piece| matches!(piece, Piece::Key(_))).count();
    if keys == 0 {
        return Ok(Role::Apart);
    }
    let whole = words.iter().filter(|word| matches!(word.as_slice(), [Piece::Key(_)])).count();
    match meaning.effect {
        Effect::Nothing | Effect::Removes => Ok(Role::Apart),
        Effect::Reads if keys == whole && has_only_keys(words, meaning.expect) => {
            Ok(if keys == 1 { Role::Reads } else { Role::ReadsMany })
        }
        Effect::Writes if words[1..].starts_with(&[vec![Piece::Key(0)], vec![Piece::Value]]) => {
            Ok(Role::Writes)
        }
        Effect::Reads | Effect::Writes => {
            Err("with --verify {key} and {value} must be arguments of their own".to_owned())
        }
        Effect::Changes => {
            Err("does with values of {key} what --verify can't follow; {n} instead \
                                of {key} names keys that it leaves alone, as in `incr counter:{n}`"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expect, Kind, Plan, Role, WorkOptions};
    use crate::work::random::Random;
    use crate::work::template::Ink;
    use crate::work::values::{Content, Values};

    fn options(mix: &[&str]) -> WorkOptions {
        let mix = mix.iter().map(|text| (*text).to_owned()).collect();
        WorkOptions { mix, ..WorkOptions::default() }
    }

    fn plan(options: &WorkOptions) -> Result<Plan, String> {
        Plan::new(options, "key:", None)
    }

    #[test]
    fn commands_are_named_as_they_were_asked_for_and_fill_comes_last() {
        let plan = plan(&options(&["GET=3,hset user:{n} name {value}=2", "ping"])).unwrap();
        let names: Vec<_> = plan.specs.iter().map(|spec| spec.name.as_str()).collect();
        assert_eq!(names, ["get", "hset user:{n} name {value}", "ping", "fill"]);
        let kinds: Vec<_> = plan.commands.iter().map(|command| command.kind).collect();
        assert_eq!(kinds, [Kind::Read, Kind::Write, Kind::Other, Kind::Write]);
        assert_eq!((plan.weights.as_slice(), plan.fill), (&[3.0, 2.0, 1.0][..], 3));
        let usual = self::plan(&options(&[])).unwrap();
        assert_eq!(usual.weights, [90.0, 10.0]);
    }

    #[test]
    fn every_built_in_command_can_be_asked() {
        let names: Vec<&str> = super::BUILT_IN.iter().map(|row| row.name).collect();
        let with_ttl = WorkOptions { ttl: Some("60".to_owned()), ..options(&[&names.join(",")]) };
        let plan = plan(&with_ttl).unwrap();
        assert_eq!(plan.commands.len(), names.len() + 1);
        assert!(plan.commands.iter().all(|command| command.expect != Expect::Any));
    }

    #[test]
    fn the_fill_phase_names_keys_as_the_mix_does() {
        for (mix, get_is_filled) in [
            ("get {key}", true),
            ("get user:{n}", true),
            ("incr counter:{n},get user:{n}:name", true),
        ] {
            let plan = plan(&options(&[mix])).unwrap();
            let get = &plan.commands[plan.commands.len() - 2];
            assert_eq!(get.is_filled, get_is_filled, "{mix}");
            let op = super::super::Op { key: 7, ..Default::default() };
            let (mut read, mut filled) = (Vec::new(), Vec::new());
            get.template.write_key(&op, &mut read);
            plan.commands[usize::from(plan.fill)].template.write_key(&op, &mut filled);
            assert_eq!(read, filled, "{mix}");
        }
        let written = |mix: &str| {
            let plan = plan(&options(&[mix])).unwrap();
            let fill = &plan.commands[usize::from(plan.fill)];
            let (values, mut random) = (Values::new(1, Content::Plain), Random::new(1, 1));
            let mut ink = Ink { values: &values, random: &mut random, random_below: 1 };
            let mut out = Vec::new();
            fill.template.write(&super::super::Op::default(), &[0], &mut ink, &mut out);
            String::from_utf8(out).unwrap().replace("\r\n", " ")
        };
        let hash = "*4 $4 hset $17 user:000000000000 $4 name $0  ";
        assert_eq!(written("hget user:{n} name,hset user:{n} name {value}"), hash);
        let string = "*3 $3 set $16 key:000000000000 $0  ";
        for mix in ["ping", "mset", "hset {=h} {n} {value}", "hset h:{n} f {value},get"] {
            assert_eq!(written(mix), string, "{mix}");
        }
        let two = plan(&options(&["get a:{n},get b:{n}"])).unwrap();
        assert!(two.commands[0].is_filled && !two.commands[1].is_filled);
    }

    #[test]
    fn verification_knows_what_it_can_follow() {
        let verified = |mix: &str| {
            let options = WorkOptions { verify: true, ..options(&[mix]) };
            plan(&options).map(|plan| plan.commands[0].role)
        };
        for (mix, role) in [
            ("get", Role::Reads),
            ("set", Role::Writes),
            ("set {key} {value} ex 100", Role::Writes),
            ("mget", Role::ReadsMany),
            ("del", Role::Apart),
            ("exists", Role::Apart),
            ("incr", Role::Apart),
            ("append a:{n} b", Role::Apart),
        ] {
            assert_eq!(verified(mix), Ok(role), "{mix}");
        }
        for (mix, part) in [
            ("append", "what --verify can't follow"),
            ("mset", "what --verify can't follow"),
            ("whatever {key}", "what --verify can't follow"),
            (
                "set {key} a{value}",
                "with --verify {key} and {value} must be arguments of their own",
            ),
            ("set {key} 1", "must be arguments of their own"),
            ("get a{key}", "must be arguments of their own"),
            ("mget a:{n} {key}", "must be arguments of their own"),
        ] {
            let error = verified(mix).err().unwrap();
            assert!(error.contains(part), "{mix}: {error}");
        }
    }

    #[test]
    fn mixes_that_make_no_sense_are_refused_in_a_sentence() {
        for (mix, part) in [
            ("frob", "--mix `frob`: is no built-in command (get, set, "),
            ("get mykey", "--mix `get mykey`: has no key placeholder: {key} or {n}"),
            ("set x {value}=5", "--mix `set x {value}`: has no key placeholder"),
            ("expire", "--mix `expire`: asks for a {ttl}, which --ttl would give"),
            ("set {key} {value} ex {ttl}", "asks for a {ttl}"),
            ("set {key} {value}{value}", "an argument can hold only one of"),
        ] {
            let error = plan(&options(&[mix])).err().unwrap();
            assert!(error.contains(part), "{mix}: {error}");
        }
        assert!(plan(&options(&["get {=mykey}", "ping", "echo {value}", "dbsize"])).is_ok());
    }

    #[test]
    fn several_keys_in_a_cluster_need_a_hash_tag() {
        let cluster = WorkOptions { cluster: true, ..options(&["mget"]) };
        assert!(plan(&cluster).err().unwrap().contains("must share a slot"));
        assert!(Plan::new(&cluster, "{a}:", None).is_ok());
        assert!(Plan::new(&cluster, "{}:", None).is_err());
    }
}
