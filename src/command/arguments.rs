//! What arguments commands take, for `COMMAND DOCS`: clients show it as hints while people type.
//!
//! Each command's arguments stand in one line of a small notation:
//!
//! ```text
//! name .type =TOKEN @since ~deprecated ? * + (one | of these) {all of these}
//! ```
//!
//! Everything but the name may be left out. The type is `k` for a key, with the number of its key spec
//! unless that is 0, `s` for a string, `i` for an integer, `d` for a decimal number, `t` for a time and
//! `p` for a pattern; an argument with a token and without a type is the token alone. `?` is an argument
//! that may be left out, `*` one that may be repeated, `+` one that is repeated with its token. Names,
//! types and versions are those of Redis 7.0, which clients know.

use crate::protocol::Reply;

/// One argument, or several that belong together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Argument {
    name: &'static str,
    kind: &'static str,
    key_spec: Option<u8>,
    token: Option<&'static str>,
    since: Option<&'static str>,
    deprecated_since: Option<&'static str>,
    flags: Vec<&'static str>,
    parts: Vec<Self>,
}

/// Whether `COMMAND DOCS` tells of the arguments of a command.
pub(super) fn are_known(full_name: &str) -> bool {
    find(full_name).is_some()
}

/// Writes the arguments of a command.
pub(super) fn write(full_name: &str, reply: &mut Reply<'_>) {
    let line = find(full_name).unwrap_or_default();
    write_all(&Notation { rest: line }.arguments(), reply);
}

fn find(full_name: &str) -> Option<&'static str> {
    let found = ARGUMENTS.binary_search_by_key(&full_name, |(name, _)| *name);
    found.ok().map(|index| ARGUMENTS[index].1)
}

fn write_all(arguments: &[Argument], reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    for argument in arguments {
        argument.write(reply);
    }
}

impl Argument {
    fn write(&self, reply: &mut Reply<'_>) {
        let texts = [
            ("token", self.token),
            ("since", self.since),
            ("deprecated_since", self.deprecated_since),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let others = [self.key_spec.is_some(), !self.flags.is_empty(), !self.parts.is_empty()];
        let count = 2 + texts.clone().count() + others.into_iter().filter(|is| *is).count();
        reply.map(count);
        reply.bulk(b"name");
        reply.bulk(self.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(self.kind.as_bytes());
        if let Some(number) = self.key_spec {
            reply.bulk(b"key_spec_index");
            reply.integer(i64::from(number));
        }
        for (name, text) in texts {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
        if !self.flags.is_empty() {
            reply.bulk(b"flags");
            reply.set(self.flags.len());
            self.flags.iter().for_each(|flag| reply.simple(flag));
        }
        if !self.parts.is_empty() {
            reply.bulk(b"arguments");
            write_all(&self.parts, reply);
        }
    }
}

/// A line of the table that is being read.
struct Notation {
    rest: &'static str,
}

impl Notation {
    /// The arguments up to the end, or to the bracket that closes them.
    fn arguments(&mut self) -> Vec<Argument> {
        let mut all = Vec::new();
        while !self.rest.is_empty() && !self.takes('}') && !self.takes(')') {
            all.push(self.argument());
            self.rest = self.rest.trim_start_matches([' ', '|']);
        }
        all
    }

    fn argument(&mut self) -> Argument {
        let mut argument = Argument { name: self.word(), ..Argument::default() };
        if self.takes('.') {
            (argument.kind, argument.key_spec) = kind(self.word());
        }
        if self.takes('=') {
            argument.token = Some(self.word());
        }
        if self.takes('@') {
            argument.since = Some(self.version());
        }
        if self.takes('~') {
            argument.deprecated_since = Some(self.version());
        }
        for (mark, flag) in [('?', "optional"), ('*', "multiple"), ('+', "multiple_token")] {
            if self.takes(mark) {
                argument.flags.push(flag);
            }
        }
        if self.takes('(') {
            argument.parts = self.arguments();
            argument.kind = "oneof";
        } else if self.takes('{') {
            argument.parts = self.arguments();
            argument.kind = "block";
        } else if argument.kind.is_empty() {
            argument.kind = "pure-token";
        }
        argument
    }

    fn takes(&mut self, mark: char) -> bool {
        let rest = self.rest.strip_prefix(mark);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> &'static str {
        self.up_to(|c| ".=@~?*+(){} |".contains(c))
    }

    fn version(&mut self) -> &'static str {
        self.up_to(|c| !(c.is_ascii_digit() || c == '.'))
    }

    fn up_to(&mut self, is_end: impl Fn(char) -> bool) -> &'static str {
        let (word, rest) = self.rest.split_at(self.rest.find(is_end).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }
}

/// A type's name, and the number of the key spec of a key.
fn kind(letters: &str) -> (&'static str, Option<u8>) {
    match letters {
        "k" => ("key", Some(0)),
        "k1" => ("key", Some(1)),
        "k2" => ("key", Some(2)),
        "p1" => ("pattern", Some(1)),
        "s" => ("string", None),
        "i" => ("integer", None),
        "d" => ("double", None),
        "t" => ("unix-time", None),
        _ => ("pattern", None),
    }
}

/// Commands by name, in order, and their arguments. What is not here takes none.
const ARGUMENTS: &[(&str, &str)] = &[
    ("acl|cat", "categoryname.s?"),
    ("append", "key.k value.s"),
    ("auth", "username.s@6.0.0? password.s"),
    ("bgsave", "schedule=SCHEDULE@3.2.2?"),
    ("bitcount", "key.k index?{start.i end.i index_unit@7.0.0?(byte=BYTE | bit=BIT)}"),
    (
        "bitfield",
        "key.k operation?*(encoding_offset=GET{encoding.s offset.i} | \
         write{wrap_sat_fail=OVERFLOW?(wrap=WRAP | sat=SAT | fail=FAIL) \
         write_operation(encoding_offset_value=SET{encoding.s offset.i value.i} | \
         encoding_offset_increment=INCRBY{encoding.s offset.i increment.i})})",
    ),
    ("bitfield_ro", "key.k encoding_offset=GET?*+{encoding.s offset.i}"),
    ("bitop", "operation.s destkey.k key.k1*"),
    (
        "bitpos",
        "key.k bit.i index?{start.i end_index?{end.i index_unit@7.0.0?(byte=BYTE | bit=BIT)}}",
    ),
    (
        "blmove",
        "source.k destination.k1 wherefrom(left=LEFT | right=RIGHT) whereto(left=LEFT | right=RIGHT) \
         timeout.d",
    ),
    ("blmpop", "timeout.d numkeys.i key.k* where(left=LEFT | right=RIGHT) count.i=COUNT?"),
    ("blpop", "key.k* timeout.d"),
    ("brpop", "key.k* timeout.d"),
    ("brpoplpush", "source.k destination.k1 timeout.d"),
    ("bzmpop", "timeout.d numkeys.i key.k* where(min=MIN | max=MAX) count.i=COUNT?"),
    ("bzpopmax", "key.k* timeout.d"),
    ("bzpopmin", "key.k* timeout.d"),
    ("client|caching", "mode(yes=YES | no=NO)"),
    (
        "client|kill",
        "filter(ip:port.s~2.8.12 | new-format*(client-id.i=ID@2.8.12? | \
         normal_master_slave_pubsub=TYPE@2.8.12?(normal=NORMAL | master=MASTER@3.2.0 | \
         slave=SLAVE | replica=REPLICA@5.0.0 | pubsub=PUBSUB) | username.s=USER? | \
         ip:port.s=ADDR? | ip:port.s=LADDR@6.2.0? | yes/no.s=SKIPME?))",
    ),
    (
        "client|list",
        "normal_master_replica_pubsub=TYPE@5.0.0?(normal=NORMAL | master=MASTER | \
         replica=REPLICA | pubsub=PUBSUB) id=ID@6.2.0?{client-id.i*}",
    ),
    ("client|no-evict", "enabled(on=ON | off=OFF)"),
    ("client|no-touch", "enabled(on=ON | off=OFF)"),
    ("client|pause", "timeout.i mode@6.2.0?(write=WRITE | all=ALL)"),
    ("client|reply", "on_off_skip(on=ON | off=OFF | skip=SKIP)"),
    ("client|setinfo", "attr(libname.s=LIB-NAME | libver.s=LIB-VER)"),
    ("client|setname", "connection-name.s"),
    (
        "client|tracking",
        "status(on=ON | off=OFF) client-id.i=REDIRECT? prefix.s=PREFIX?*+ bcast=BCAST? optin=OPTIN? \
         optout=OPTOUT? noloop=NOLOOP?",
    ),
    ("client|unblock", "client-id.i timeout_error?(timeout=TIMEOUT | error=ERROR)"),
    ("client|waittoken", "token.s timeout.i?"),
    ("cluster|count-failure-reports", "node-id.s"),
    ("cluster|countkeysinslot", "slot.i"),
    ("cluster|failover", "options?(force=FORCE | takeover=TAKEOVER)"),
    ("cluster|forget", "node-id.s"),
    ("cluster|found", "node-id.s*"),
    ("cluster|getkeysinslot", "slot.i count.i"),
    ("cluster|keyslot", "key.s"),
    ("cluster|meet", "ip.s port.i cluster_bus_port.i@4.0.0?"),
    ("cluster|replicas", "node-id.s"),
    ("cluster|replicate", "node-id.s"),
    ("cluster|reset", "hard_soft?(hard=HARD | soft=SOFT)"),
    ("cluster|shard", "shard.i action(add=ADD | remove=REMOVE | lead=LEAD) node-id.s"),
    ("cluster|slaves", "node-id.s"),
    ("command|docs", "command-name.s?*"),
    ("command|info", "command-name.s?*"),
    (
        "command|list",
        "filterby=FILTERBY?(module-name.s=MODULE | category.s=ACLCAT | pattern.p=PATTERN)",
    ),
    ("config|get", "parameter*{parameter.s}"),
    ("config|set", "parameter_value*{parameter.s value.s}"),
    ("copy", "source.k destination.k1 destination-db.i=DB? replace=REPLACE?"),
    ("decr", "key.k"),
    ("decrby", "key.k decrement.i"),
    ("del", "key.k*"),
    ("dump", "key.k"),
    ("echo", "message.s"),
    ("exists", "key.k*"),
    ("expire", "key.k seconds.i condition@7.0.0?(nx=NX | xx=XX | gt=GT | lt=LT)"),
    ("expireat", "key.k unix-time-seconds.t condition@7.0.0?(nx=NX | xx=XX | gt=GT | lt=LT)"),
    ("expiretime", "key.k"),
    ("flushall", "async?(async=ASYNC@4.0.0 | sync=SYNC@6.2.0)"),
    ("flushdb", "async?(async=ASYNC@4.0.0 | sync=SYNC@6.2.0)"),
    ("get", "key.k"),
    ("getbit", "key.k offset.i"),
    ("getdel", "key.k"),
    (
        "getex",
        "key.k expiration?(seconds.i=EX | milliseconds.i=PX | unix-time-seconds.t=EXAT | \
         unix-time-milliseconds.t=PXAT | persist=PERSIST)",
    ),
    ("getrange", "key.k start.i end.i"),
    ("getset", "key.k value.s"),
    ("hdel", "key.k field.s*"),
    (
        "hello",
        "arguments?{protover.i username_password=AUTH?{username.s password.s} \
         clientname.s=SETNAME?}",
    ),
    ("hexists", "key.k field.s"),
    (
        "hexpire",
        "key.k seconds.i condition?(nx=NX | xx=XX | gt=GT | lt=LT) \
         fields=FIELDS{numfields.i field.s*}",
    ),
    (
        "hexpireat",
        "key.k unix-time-seconds.t condition?(nx=NX | xx=XX | gt=GT | lt=LT) \
         fields=FIELDS{numfields.i field.s*}",
    ),
    ("hexpiretime", "key.k fields=FIELDS{numfields.i field.s*}"),
    ("hget", "key.k field.s"),
    ("hgetall", "key.k"),
    ("hincrby", "key.k field.s increment.i"),
    ("hincrbyfloat", "key.k field.s increment.d"),
    ("hkeys", "key.k"),
    ("hlen", "key.k"),
    ("hmget", "key.k field.s*"),
    ("hmset", "key.k field_value*{field.s value.s}"),
    ("hpersist", "key.k fields=FIELDS{numfields.i field.s*}"),
    (
        "hpexpire",
        "key.k milliseconds.i condition?(nx=NX | xx=XX | gt=GT | lt=LT) \
         fields=FIELDS{numfields.i field.s*}",
    ),
    (
        "hpexpireat",
        "key.k unix-time-milliseconds.t condition?(nx=NX | xx=XX | gt=GT | lt=LT) \
         fields=FIELDS{numfields.i field.s*}",
    ),
    ("hpexpiretime", "key.k fields=FIELDS{numfields.i field.s*}"),
    ("hpttl", "key.k fields=FIELDS{numfields.i field.s*}"),
    ("hrandfield", "key.k options?{count.i withvalues=WITHVALUES?}"),
    ("hscan", "key.k cursor.i pattern.p=MATCH? count.i=COUNT?"),
    ("hset", "key.k field_value*{field.s value.s}"),
    ("hsetnx", "key.k field.s value.s"),
    ("hstrlen", "key.k field.s"),
    ("httl", "key.k fields=FIELDS{numfields.i field.s*}"),
    ("hvals", "key.k"),
    ("incr", "key.k"),
    ("incrby", "key.k increment.i"),
    ("incrbyfloat", "key.k increment.d"),
    ("info", "section.s?*"),
    ("keys", "pattern.p"),
    ("latency|graph", "event.s"),
    ("latency|histogram", "command.s?*"),
    ("latency|history", "event.s"),
    ("latency|reset", "event.s?*"),
    ("lcs", "key1.k key2.k len=LEN? idx=IDX? len.i=MINMATCHLEN? withmatchlen=WITHMATCHLEN?"),
    ("lindex", "key.k index.i"),
    ("linsert", "key.k where(before=BEFORE | after=AFTER) pivot.s element.s"),
    ("llen", "key.k"),
    (
        "lmove",
        "source.k destination.k1 wherefrom(left=LEFT | right=RIGHT) whereto(left=LEFT | right=RIGHT)",
    ),
    ("lmpop", "numkeys.i key.k* where(left=LEFT | right=RIGHT) count.i=COUNT?"),
    ("lolwut", "version.i=VERSION?"),
    ("lpop", "key.k count.i@6.2.0?"),
    ("lpos", "key.k element.s rank.i=RANK? num-matches.i=COUNT? len.i=MAXLEN?"),
    ("lpush", "key.k element.s*"),
    ("lpushx", "key.k element.s*"),
    ("lrange", "key.k start.i stop.i"),
    ("lrem", "key.k count.i element.s"),
    ("lset", "key.k index.i element.s"),
    ("ltrim", "key.k start.i stop.i"),
    ("memory|usage", "key.k count.i=SAMPLES?"),
    ("mget", "key.k*"),
    ("move", "key.k db.i"),
    ("mset", "key_value*{key.k value.s}"),
    ("msetnx", "key_value*{key.k value.s}"),
    ("object|encoding", "key.k"),
    ("object|freq", "key.k"),
    ("object|idletime", "key.k"),
    ("object|refcount", "key.k"),
    ("persist", "key.k"),
    ("pexpire", "key.k milliseconds.i condition@7.0.0?(nx=NX | xx=XX | gt=GT | lt=LT)"),
    ("pexpireat", "key.k unix-time-milliseconds.t condition@7.0.0?(nx=NX | xx=XX | gt=GT | lt=LT)"),
    ("pexpiretime", "key.k"),
    ("ping", "message.s?"),
    ("psetex", "key.k milliseconds.i value.s"),
    ("psubscribe", "pattern*{pattern.p}"),
    ("pttl", "key.k"),
    ("publish", "channel.s message.s"),
    ("pubsub|channels", "pattern.p?"),
    ("pubsub|numsub", "channel.s?*"),
    ("pubsub|shardchannels", "pattern.p?"),
    ("pubsub|shardnumsub", "shardchannel.s?*"),
    ("punsubscribe", "pattern.p?*"),
    ("readonly", "token.s=TOKEN?"),
    ("rename", "key.k newkey.k1"),
    ("renamenx", "key.k newkey.k1"),
    (
        "restore",
        "key.k ttl.i serialized-value.s replace=REPLACE@3.0.0? absttl=ABSTTL@5.0.0? \
         seconds.i=IDLETIME@5.0.0? frequency.i=FREQ@5.0.0?",
    ),
    ("rpop", "key.k count.i@6.2.0?"),
    ("rpoplpush", "source.k destination.k1"),
    ("rpush", "key.k element.s*"),
    ("rpushx", "key.k element.s*"),
    ("sadd", "key.k member.s*"),
    ("scan", "cursor.i pattern.p=MATCH? count.i=COUNT? type.s=TYPE@6.0.0?"),
    ("scard", "key.k"),
    ("sdiff", "key.k*"),
    ("sdiffstore", "destination.k key.k1*"),
    ("select", "index.i"),
    (
        "set",
        "key.k value.s condition@2.6.12?(nx=NX | xx=XX) get=GET@6.2.0? \
         expiration?(seconds.i=EX@2.6.12 | milliseconds.i=PX@2.6.12 | \
         unix-time-seconds.t=EXAT@6.2.0 | unix-time-milliseconds.t=PXAT@6.2.0 | \
         keepttl=KEEPTTL@6.0.0)",
    ),
    ("setbit", "key.k offset.i value.i"),
    ("setex", "key.k seconds.i value.s"),
    ("setnx", "key.k value.s"),
    ("setrange", "key.k offset.i value.s"),
    (
        "shutdown",
        "nosave_save?(nosave=NOSAVE | save=SAVE) now=NOW@7.0.0? force=FORCE@7.0.0? \
         abort=ABORT@7.0.0?",
    ),
    ("sinter", "key.k*"),
    ("sintercard", "numkeys.i key.k* limit.i=LIMIT?"),
    ("sinterstore", "destination.k key.k1*"),
    ("sismember", "key.k member.s"),
    ("slowlog|get", "count.i?"),
    ("smembers", "key.k"),
    ("smismember", "key.k member.s*"),
    ("smove", "source.k destination.k1 member.s"),
    (
        "sort",
        "key.k pattern.p1=BY? offset_count=LIMIT?{offset.i count.i} pattern.p1=GET?*+ order?(asc=ASC | desc=DESC) sorting=ALPHA? destination.k2=STORE?",
    ),
    (
        "sort_ro",
        "key.k pattern.p1=BY? offset_count=LIMIT?{offset.i count.i} pattern.p1=GET?*+ order?(asc=ASC | desc=DESC) sorting=ALPHA?",
    ),
    ("spop", "key.k count.i@3.2.0?"),
    ("spublish", "shardchannel.s message.s"),
    ("srandmember", "key.k count.i@2.6.0?"),
    ("srem", "key.k member.s*"),
    ("sscan", "key.k cursor.i pattern.p=MATCH? count.i=COUNT?"),
    ("ssubscribe", "shardchannel.s*"),
    ("strlen", "key.k"),
    ("subscribe", "channel.s*"),
    ("substr", "key.k start.i end.i"),
    ("sunion", "key.k*"),
    ("sunionstore", "destination.k key.k1*"),
    ("sunsubscribe", "shardchannel.s?*"),
    ("swapdb", "index1.i index2.i"),
    ("touch", "key.k*"),
    ("ttl", "key.k"),
    ("type", "key.k"),
    ("unlink", "key.k*"),
    ("unsubscribe", "channel.s?*"),
    ("wait", "numreplicas.i timeout.i"),
    ("watch", "key.k*"),
    (
        "zadd",
        "key.k condition@3.0.2?(nx=NX | xx=XX) comparison@6.2.0?(gt=GT | lt=LT) \
         change=CH@3.0.2? increment=INCR@3.0.2? score_member*{score.d member.s}",
    ),
    ("zcard", "key.k"),
    ("zcount", "key.k min.d max.d"),
    ("zdiff", "numkeys.i key.k* withscores=WITHSCORES?"),
    ("zdiffstore", "destination.k numkeys.i key.k1*"),
    ("zincrby", "key.k increment.i member.s"),
    (
        "zinter",
        "numkeys.i key.k* weight.i=WEIGHTS?* aggregate=AGGREGATE?(sum=SUM | min=MIN | \
         max=MAX) withscores=WITHSCORES?",
    ),
    ("zintercard", "numkeys.i key.k* limit.i=LIMIT?"),
    (
        "zinterstore",
        "destination.k numkeys.i key.k1* weight.i=WEIGHTS?* aggregate=AGGREGATE?(sum=SUM | \
         min=MIN | max=MAX)",
    ),
    ("zlexcount", "key.k min.s max.s"),
    ("zmpop", "numkeys.i key.k* where(min=MIN | max=MAX) count.i=COUNT?"),
    ("zmscore", "key.k member.s*"),
    ("zpopmax", "key.k count.i?"),
    ("zpopmin", "key.k count.i?"),
    ("zrandmember", "key.k options?{count.i withscores=WITHSCORES?}"),
    (
        "zrange",
        "key.k start.s stop.s sortby@6.2.0?(byscore=BYSCORE | bylex=BYLEX) rev=REV@6.2.0? \
         offset_count=LIMIT@6.2.0?{offset.i count.i} withscores=WITHSCORES?",
    ),
    ("zrangebylex", "key.k min.s max.s offset_count=LIMIT?{offset.i count.i}"),
    (
        "zrangebyscore",
        "key.k min.d max.d withscores=WITHSCORES@2.0.0? offset_count=LIMIT?{offset.i count.i}",
    ),
    (
        "zrangestore",
        "dst.k src.k1 min.s max.s sortby?(byscore=BYSCORE | bylex=BYLEX) rev=REV? \
         offset_count=LIMIT?{offset.i count.i}",
    ),
    ("zrank", "key.k member.s"),
    ("zrem", "key.k member.s*"),
    ("zremrangebylex", "key.k min.s max.s"),
    ("zremrangebyrank", "key.k start.i stop.i"),
    ("zremrangebyscore", "key.k min.d max.d"),
    ("zrevrange", "key.k start.i stop.i withscores=WITHSCORES?"),
    ("zrevrangebylex", "key.k max.s min.s offset_count=LIMIT?{offset.i count.i}"),
    (
        "zrevrangebyscore",
        "key.k max.d min.d withscores=WITHSCORES? offset_count=LIMIT?{offset.i count.i}",
    ),
    ("zrevrank", "key.k member.s"),
    ("zscan", "key.k cursor.i pattern.p=MATCH? count.i=COUNT?"),
    ("zscore", "key.k member.s"),
    (
        "zunion",
        "numkeys.i key.k* weight.i=WEIGHTS?* aggregate=AGGREGATE?(sum=SUM | min=MIN | \
         max=MAX) withscores=WITHSCORES?",
    ),
    (
        "zunionstore",
        "destination.k numkeys.i key.k1* weight.i=WEIGHTS?* aggregate=AGGREGATE?(sum=SUM | \
         min=MIN | max=MAX)",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::{ARGUMENTS, Argument, Notation, are_known};

    #[test]
    fn the_notation_is_read() {
        let mut notation = Notation { rest: "key.k1* how@7.0.0?(a=AB | b.i=C~2.0{d.s})" };
        let leaf = |name, kind| Argument { name, kind, ..Argument::default() };
        let expected = [
            Argument { key_spec: Some(1), flags: vec!["multiple"], ..leaf("key", "key") },
            Argument {
                since: Some("7.0.0"),
                flags: vec!["optional"],
                parts: vec![
                    Argument { token: Some("AB"), ..leaf("a", "pure-token") },
                    Argument {
                        token: Some("C"),
                        deprecated_since: Some("2.0"),
                        parts: vec![leaf("d", "string")],
                        ..leaf("b", "block")
                    },
                ],
                ..leaf("how", "oneof")
            },
        ];
        assert_eq!(notation.arguments(), expected);
    }

    #[test]
    fn every_line_is_of_a_command_and_in_order() {
        assert!(ARGUMENTS.is_sorted_by_key(|(name, _)| *name));
        let known = |name: &str| Table::get().entries().any(|entry| entry.full_name == name);
        for (name, line) in ARGUMENTS {
            assert!(known(name), "{name}");
            let mut notation = Notation { rest: line };
            assert!(!notation.arguments().is_empty() && notation.rest.is_empty(), "{name}");
        }
        // What takes no arguments has none described.
        for entry in Table::get().listed().filter(|entry| !entry.is_container()) {
            let words = if entry.parent.is_some() { 2 } else { 1 };
            let arity = i32::from(entry.command.arity);
            let described = are_known(entry.full_name);
            assert!(!described || arity != words, "{}", entry.full_name);
        }
    }
}
