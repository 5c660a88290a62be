//! Scripts for the commands on sorted sets. The replies are those of Redis 7.0.15, `WITHSCORE` of 7.4 apart.

use std::collections::BTreeSet;

use crate::cache::{Keyspace, Missing};
use crate::collection::{Edit, Set};
use crate::command::replay::{Peer, Shards, bulks, check};
use crate::protocol::Proto;
use crate::types::{DbIndex, Key, UnixMs, key_slot};

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

pub(crate) const SCRIPT: &[(&str, &str)] = &[
    // Arity.
    ("ZADD z", "-ERR wrong number of arguments for 'zadd' command"),
    ("ZADD z 1", "-ERR wrong number of arguments for 'zadd' command"),
    ("ZADD z 1 a 2", "-ERR syntax error"),
    ("ZADD z NX", "-ERR wrong number of arguments for 'zadd' command"),
    ("ZINCRBY z 1", "-ERR wrong number of arguments for 'zincrby' command"),
    ("ZREM z", "-ERR wrong number of arguments for 'zrem' command"),
    ("ZCARD", "-ERR wrong number of arguments for 'zcard' command"),
    ("ZSCORE z", "-ERR wrong number of arguments for 'zscore' command"),
    ("ZMSCORE z", "-ERR wrong number of arguments for 'zmscore' command"),
    ("ZCOUNT z 0", "-ERR wrong number of arguments for 'zcount' command"),
    ("ZRANGE z 0", "-ERR wrong number of arguments for 'zrange' command"),
    ("ZRANGESTORE d z 0", "-ERR wrong number of arguments for 'zrangestore' command"),
    ("ZREMRANGEBYRANK z 0", "-ERR wrong number of arguments for 'zremrangebyrank' command"),
    ("ZPOPMIN", "-ERR wrong number of arguments for 'zpopmin' command"),
    ("ZMPOP 1 z", "-ERR wrong number of arguments for 'zmpop' command"),
    ("ZUNION 1", "-ERR wrong number of arguments for 'zunion' command"),
    ("ZUNIONSTORE d 1", "-ERR wrong number of arguments for 'zunionstore' command"),
    ("ZRANDMEMBER", "-ERR wrong number of arguments for 'zrandmember' command"),
    ("ZSCAN z", "-ERR wrong number of arguments for 'zscan' command"),
    // Members and scores.
    ("ZADD z 1 a", ":1"),
    ("ZADD z 1 a", ":0"),
    ("ZADD z 2 b 3 c 2 b", ":2"),
    ("ZCARD z", ":3"),
    ("ZCARD none", ":0"),
    ("TYPE z", "+zset"),
    ("OBJECT ENCODING z", "$8⏎listpack"),
    ("ZRANGE z 0 -1 WITHSCORES", "*6⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3"),
    ("ZSCORE z b", "$1⏎2"),
    ("ZSCORE z none", "$-1"),
    ("ZSCORE none a", "$-1"),
    ("ZMSCORE z a none c", "*3⏎$1⏎1⏎$-1⏎$1⏎3"),
    ("ZMSCORE none a b", "*2⏎$-1⏎$-1"),
    ("ZADD z x a", "-ERR value is not a valid float"),
    ("ZADD z 5 e x a", "-ERR value is not a valid float"),
    ("ZADD z nan a", "-ERR value is not a valid float"),
    (r#"ZADD z "" a"#, "-ERR value is not a valid float"),
    ("ZADD z 1e400 a", "-ERR value is not a valid float"),
    (r#"ZADD z " 1" a"#, "-ERR value is not a valid float"),
    ("ZCARD z", ":3"),
    (
        "ZADD s 1.5 1.5 -0.1 -0.1 1e20 big 1e-7 small inf up -inf down 0x10 hex +5 plus 3. dot .5 half 100000000000000000 long",
        ":11",
    ),
    (
        "ZRANGE s 0 -1 WITHSCORES",
        "*22⏎$4⏎down⏎$4⏎-inf⏎$4⏎-0.1⏎$20⏎-0.10000000000000001⏎$5⏎small⏎$22⏎9.9999999999999995e-08⏎$4⏎half⏎$3⏎0.5⏎$3⏎1.5⏎$3⏎1.5⏎$3⏎dot⏎$1⏎3⏎$4⏎plus⏎$1⏎5⏎$3⏎hex⏎$2⏎16⏎$4⏎long⏎$5⏎1e+17⏎$3⏎big⏎$5⏎1e+20⏎$2⏎up⏎$3⏎inf",
    ),
    ("ZSCORE s 1.5", "$3⏎1.5"),
    ("ZREM z c d a a", ":2"),
    ("ZREM z a", ":0"),
    ("ZREM none a", ":0"),
    ("ZRANGE z 0 -1", "*1⏎$1⏎b"),
    ("ZREM z b", ":1"),
    ("EXISTS z", ":0"),
    // Options of ZADD.
    ("ZADD z XX 1 a", ":0"),
    ("EXISTS z", ":0"),
    ("ZADD z NX 1 a 2 b", ":2"),
    ("ZADD z nx 5 a 3 c", ":1"),
    ("ZADD z XX 5 a 6 d", ":0"),
    ("ZADD z XX CH 6 a 6 d", ":1"),
    ("ZADD z CH 6 a 7 d", ":1"),
    ("ZADD z GT 5 a 8 e", ":1"),
    ("ZADD z LT 7 a 1 f", ":1"),
    ("ZADD z GT CH 7 a 7 d", ":1"),
    ("ZADD z LT CH 1 a 7 d", ":1"),
    ("ZADD z XX GT CH 9 a 9 none", ":1"),
    ("ZADD z NX XX 1 a", "-ERR XX and NX options at the same time are not compatible"),
    ("ZADD z NX GT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
    ("ZADD z LT NX 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
    ("ZADD z GT LT 1 a", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
    ("ZADD z NX XX GT 1 a", "-ERR XX and NX options at the same time are not compatible"),
    ("ZADD z FOO 1 a", "-ERR syntax error"),
    ("ZADD z INCR 1 a 2 b", "-ERR INCR option supports a single increment-element pair"),
    ("ZADD z INCR 1 a", "$2⏎10"),
    ("ZADD z INCR 0 a", "$2⏎10"),
    ("ZADD z INCR NX 1 a", "$-1"),
    ("ZADD z INCR NX 1.5 new", "$3⏎1.5"),
    ("ZADD z INCR XX 1 none", "$-1"),
    ("ZADD z INCR GT -1 a", "$-1"),
    ("ZADD z INCR LT -1 a", "$1⏎9"),
    ("ZADD z INCR LT 0 a", "$-1"),
    ("ZADD none INCR XX 1 a", "$-1"),
    ("EXISTS none", ":0"),
    ("ZADD z INCR inf i", "$3⏎inf"),
    ("ZADD z INCR -inf i", "-ERR resulting score is not a number (NaN)"),
    ("ZADD z 1 a 2", "-ERR syntax error"),
    ("ZADD z NX CH INCR", "-ERR syntax error"),
    (
        "ZRANGE z 0 -1 WITHSCORES",
        "*16⏎$1⏎f⏎$1⏎1⏎$3⏎new⏎$3⏎1.5⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3⏎$1⏎d⏎$1⏎7⏎$1⏎e⏎$1⏎8⏎$1⏎a⏎$1⏎9⏎$1⏎i⏎$3⏎inf",
    ),
    ("ZINCRBY z 1 a", "$2⏎10"),
    ("ZINCRBY z -0.5 a", "$3⏎9.5"),
    ("ZINCRBY z 0.1 fresh", "$19⏎0.10000000000000001"),
    ("ZINCRBY z nan a", "-ERR value is not a valid float"),
    ("ZINCRBY z x a", "-ERR value is not a valid float"),
    ("ZINCRBY z inf inc", "$3⏎inf"),
    ("ZINCRBY z -inf inc", "-ERR resulting score is not a number (NaN)"),
    ("ZINCRBY nx nx a", "-ERR syntax error"),
    // Ranks.
    ("DEL z s", ":2"),
    ("ZADD z 1 a 1 b 2 c 3 d 3 e", ":5"),
    ("ZRANK z a", ":0"),
    ("ZRANK z e", ":4"),
    ("ZRANK z none", "$-1"),
    ("ZRANK none a", "$-1"),
    ("ZREVRANK z a", ":4"),
    ("ZREVRANK z e", ":0"),
    ("ZREVRANK z none", "$-1"),
    // Counts.
    ("ZCOUNT z -inf +inf", ":5"),
    ("ZCOUNT z 1 2", ":3"),
    ("ZCOUNT z (1 3", ":3"),
    ("ZCOUNT z 1 (3", ":3"),
    ("ZCOUNT z (1 (1", ":0"),
    ("ZCOUNT z 3 1", ":0"),
    ("ZCOUNT z (3 inf", ":0"),
    ("ZCOUNT none 0 1", ":0"),
    ("ZCOUNT z a 1", "-ERR min or max is not a float"),
    ("ZCOUNT z 1 a", "-ERR min or max is not a float"),
    ("ZCOUNT z ((1 2", "-ERR min or max is not a float"),
    ("ZCOUNT z 1 nan", "-ERR min or max is not a float"),
    (r#"ZCOUNT z " 1" 1e400"#, ":5"),
    (r#"ZCOUNT z "" 1"#, ":2"),
    ("ZCOUNT z ( 1", ":2"),
    (r#"ZCOUNT z " " 1"#, "-ERR min or max is not a float"),
    ("ZCOUNT z 0x2 1e1", ":3"),
    ("ZCOUNT none a 1", "-ERR min or max is not a float"),
    // Ranges of ranks.
    ("ZRANGE z 0 -1", "*5⏎$1⏎a⏎$1⏎b⏎$1⏎c⏎$1⏎d⏎$1⏎e"),
    ("ZRANGE z 1 2 WITHSCORES", "*4⏎$1⏎b⏎$1⏎1⏎$1⏎c⏎$1⏎2"),
    ("ZRANGE z -2 -1 withscores", "*4⏎$1⏎d⏎$1⏎3⏎$1⏎e⏎$1⏎3"),
    ("ZRANGE z 3 100", "*2⏎$1⏎d⏎$1⏎e"),
    ("ZRANGE z 5 10", "*0"),
    ("ZRANGE z 2 1", "*0"),
    ("ZRANGE z -100 -90", "*0"),
    ("ZRANGE z -100 0", "*1⏎$1⏎a"),
    ("ZRANGE z 0 -1 REV", "*5⏎$1⏎e⏎$1⏎d⏎$1⏎c⏎$1⏎b⏎$1⏎a"),
    ("ZRANGE z 0 1 REV WITHSCORES", "*4⏎$1⏎e⏎$1⏎3⏎$1⏎d⏎$1⏎3"),
    ("ZRANGE z a 1", "-ERR value is not an integer or out of range"),
    ("ZRANGE z 0 1.5", "-ERR value is not an integer or out of range"),
    (
        "ZRANGE z 0 -1 LIMIT 0 1",
        "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
    ),
    ("ZRANGE z 0 -1 LIMIT 1 -1", "*5⏎$1⏎a⏎$1⏎b⏎$1⏎c⏎$1⏎d⏎$1⏎e"),
    ("ZRANGE z 0 -1 LIMIT 1", "-ERR syntax error"),
    ("ZRANGE z 0 -1 LIMIT a 1", "-ERR value is not an integer or out of range"),
    ("ZRANGE z 0 -1 FOO", "-ERR syntax error"),
    ("ZRANGE none 0 -1", "*0"),
    ("ZRANGE none 0 -1 FOO", "-ERR syntax error"),
    ("ZRANGE z -9223372036854775808 9223372036854775807", "*5⏎$1⏎a⏎$1⏎b⏎$1⏎c⏎$1⏎d⏎$1⏎e"),
    ("ZREVRANGE z 0 1", "*2⏎$1⏎e⏎$1⏎d"),
    ("ZREVRANGE z 0 -1 WITHSCORES", "*10⏎$1⏎e⏎$1⏎3⏎$1⏎d⏎$1⏎3⏎$1⏎c⏎$1⏎2⏎$1⏎b⏎$1⏎1⏎$1⏎a⏎$1⏎1"),
    ("ZREVRANGE z -2 -1", "*2⏎$1⏎b⏎$1⏎a"),
    ("ZREVRANGE z 0 1 REV", "-ERR syntax error"),
    ("ZREVRANGE z 0 1 BYSCORE", "-ERR syntax error"),
    (
        "ZREVRANGE z 0 1 LIMIT 0 1",
        "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
    ),
    // Ranges of scores.
    ("ZRANGE z 1 2 BYSCORE", "*3⏎$1⏎a⏎$1⏎b⏎$1⏎c"),
    ("ZRANGE z (1 +inf BYSCORE WITHSCORES", "*6⏎$1⏎c⏎$1⏎2⏎$1⏎d⏎$1⏎3⏎$1⏎e⏎$1⏎3"),
    ("ZRANGE z 3 1 BYSCORE", "*0"),
    ("ZRANGE z 3 1 BYSCORE REV", "*5⏎$1⏎e⏎$1⏎d⏎$1⏎c⏎$1⏎b⏎$1⏎a"),
    ("ZRANGE z +inf -inf BYSCORE REV LIMIT 1 2", "*2⏎$1⏎d⏎$1⏎c"),
    ("ZRANGE z -inf +inf BYSCORE LIMIT 1 2 WITHSCORES", "*4⏎$1⏎b⏎$1⏎1⏎$1⏎c⏎$1⏎2"),
    ("ZRANGE z -inf +inf BYSCORE LIMIT 1 -1", "*4⏎$1⏎b⏎$1⏎c⏎$1⏎d⏎$1⏎e"),
    ("ZRANGE z -inf +inf BYSCORE LIMIT 1 0", "*0"),
    ("ZRANGE z -inf +inf BYSCORE LIMIT 100 2", "*0"),
    ("ZRANGE z -inf +inf BYSCORE LIMIT -1 2", "*0"),
    ("ZRANGE z a b BYSCORE", "-ERR min or max is not a float"),
    ("ZRANGE z 0 1 BYSCORE BYLEX", "-ERR syntax error"),
    ("ZRANGEBYSCORE z 1 2", "*3⏎$1⏎a⏎$1⏎b⏎$1⏎c"),
    ("ZRANGEBYSCORE z (1 3 WITHSCORES LIMIT 0 2", "*4⏎$1⏎c⏎$1⏎2⏎$1⏎d⏎$1⏎3"),
    ("ZRANGEBYSCORE z 1 2 REV", "-ERR syntax error"),
    ("ZRANGEBYSCORE z 1 2 BYSCORE", "-ERR syntax error"),
    ("ZRANGEBYSCORE none 1 2", "*0"),
    ("ZRANGEBYSCORE z x 2", "-ERR min or max is not a float"),
    ("ZREVRANGEBYSCORE z 3 1", "*5⏎$1⏎e⏎$1⏎d⏎$1⏎c⏎$1⏎b⏎$1⏎a"),
    ("ZREVRANGEBYSCORE z 1 3", "*0"),
    ("ZREVRANGEBYSCORE z +inf (1 LIMIT 1 1", "*1⏎$1⏎d"),
    ("ZREVRANGEBYSCORE z (3 -inf WITHSCORES", "*6⏎$1⏎c⏎$1⏎2⏎$1⏎b⏎$1⏎1⏎$1⏎a⏎$1⏎1"),
    // Ranges of members.
    (r#"ZADD l 0 a 0 b 0 c 0 d 0 "" 0 10 0 9"#, ":7"),
    ("ZRANGE l - + BYLEX", "*7⏎$0⏎⏎$2⏎10⏎$1⏎9⏎$1⏎a⏎$1⏎b⏎$1⏎c⏎$1⏎d"),
    ("ZRANGE l [b [d BYLEX", "*3⏎$1⏎b⏎$1⏎c⏎$1⏎d"),
    ("ZRANGE l (b (d BYLEX", "*1⏎$1⏎c"),
    ("ZRANGE l [b + BYLEX LIMIT 1 1", "*1⏎$1⏎c"),
    ("ZRANGE l + - BYLEX REV", "*7⏎$1⏎d⏎$1⏎c⏎$1⏎b⏎$1⏎a⏎$1⏎9⏎$2⏎10⏎$0⏎"),
    ("ZRANGE l + [b BYLEX REV LIMIT 0 2", "*2⏎$1⏎d⏎$1⏎c"),
    ("ZRANGE l + - BYLEX", "*0"),
    ("ZRANGE l [ [b BYLEX", "*5⏎$0⏎⏎$2⏎10⏎$1⏎9⏎$1⏎a⏎$1⏎b"),
    ("ZRANGE l ( [b BYLEX", "*4⏎$2⏎10⏎$1⏎9⏎$1⏎a⏎$1⏎b"),
    ("ZRANGE l [1 [9 BYLEX", "*2⏎$2⏎10⏎$1⏎9"),
    ("ZRANGE l a b BYLEX", "-ERR min or max not valid string range item"),
    ("ZRANGE l -x + BYLEX", "-ERR min or max not valid string range item"),
    ("ZRANGE l - 5 BYLEX", "-ERR min or max not valid string range item"),
    (
        "ZRANGE l - + BYLEX WITHSCORES",
        "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
    ),
    ("ZRANGEBYLEX l [a (c", "*2⏎$1⏎a⏎$1⏎b"),
    ("ZRANGEBYLEX l - + LIMIT 2 3", "*3⏎$1⏎9⏎$1⏎a⏎$1⏎b"),
    (
        "ZRANGEBYLEX l - + WITHSCORES",
        "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
    ),
    ("ZRANGEBYLEX l - + REV", "-ERR syntax error"),
    ("ZREVRANGEBYLEX l (c [a", "*2⏎$1⏎b⏎$1⏎a"),
    ("ZREVRANGEBYLEX l + -", "*7⏎$1⏎d⏎$1⏎c⏎$1⏎b⏎$1⏎a⏎$1⏎9⏎$2⏎10⏎$0⏎"),
    ("ZREVRANGEBYLEX l - +", "*0"),
    ("ZLEXCOUNT l - +", ":7"),
    ("ZLEXCOUNT l [b [c", ":2"),
    ("ZLEXCOUNT l (b (c", ":0"),
    ("ZLEXCOUNT l + -", ":0"),
    ("ZLEXCOUNT l b c", "-ERR min or max not valid string range item"),
    ("ZLEXCOUNT none - +", ":0"),
    // Kept ranges.
    ("ZRANGESTORE d z 1 3", ":3"),
    ("ZRANGE d 0 -1 WITHSCORES", "*6⏎$1⏎b⏎$1⏎1⏎$1⏎c⏎$1⏎2⏎$1⏎d⏎$1⏎3"),
    ("ZRANGESTORE d z (1 3 BYSCORE LIMIT 1 2", ":2"),
    ("ZRANGE d 0 -1 WITHSCORES", "*4⏎$1⏎d⏎$1⏎3⏎$1⏎e⏎$1⏎3"),
    ("ZRANGESTORE d z 0 0 REV", ":1"),
    ("ZRANGE d 0 -1", "*1⏎$1⏎e"),
    ("ZRANGESTORE d l [b [d BYLEX", ":3"),
    ("ZRANGE d 0 -1", "*3⏎$1⏎b⏎$1⏎c⏎$1⏎d"),
    ("ZRANGESTORE d d 1 1", ":1"),
    ("ZRANGE d 0 -1", "*1⏎$1⏎c"),
    ("ZRANGESTORE d none 0 -1", ":0"),
    ("EXISTS d", ":0"),
    ("ZRANGESTORE d z 5 9", ":0"),
    ("ZRANGESTORE d z 0 1 WITHSCORES", "-ERR syntax error"),
    (
        "ZRANGESTORE d z 0 1 LIMIT 0 1",
        "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
    ),
    ("SET string x", "+OK"),
    ("ZRANGESTORE string z 0 0", ":1"),
    ("ZRANGE string 0 -1", "*1⏎$1⏎a"),
    // Removal of ranges.
    ("ZREMRANGEBYRANK z 1 2", ":2"),
    ("ZRANGE z 0 -1", "*3⏎$1⏎a⏎$1⏎d⏎$1⏎e"),
    ("ZREMRANGEBYRANK z 5 9", ":0"),
    ("ZREMRANGEBYRANK z -1 -1", ":1"),
    ("ZREMRANGEBYRANK z a 1", "-ERR value is not an integer or out of range"),
    ("ZREMRANGEBYRANK none 0 -1", ":0"),
    ("ZADD z 1 a 2 b 3 c 4 d", ":2"),
    ("ZREMRANGEBYSCORE z (1 2", ":1"),
    ("ZREMRANGEBYSCORE z 7 8", ":0"),
    ("ZREMRANGEBYSCORE z a b", "-ERR min or max is not a float"),
    ("ZRANGE z 0 -1", "*3⏎$1⏎a⏎$1⏎c⏎$1⏎d"),
    ("ZREMRANGEBYSCORE z -inf inf", ":3"),
    ("EXISTS z", ":0"),
    ("ZREMRANGEBYLEX l [b [c", ":2"),
    ("ZREMRANGEBYLEX l x y", "-ERR min or max not valid string range item"),
    ("ZREMRANGEBYLEX l - +", ":5"),
    ("EXISTS l", ":0"),
    // Pops.
    ("ZADD z 1 a 2 b 3 c 4 d 5 e 6 f", ":6"),
    ("ZPOPMIN z", "*2⏎$1⏎a⏎$1⏎1"),
    ("ZPOPMAX z", "*2⏎$1⏎f⏎$1⏎6"),
    ("ZPOPMIN z 2", "*4⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3"),
    ("ZPOPMAX z 0", "*0"),
    ("ZPOPMAX z 9", "*4⏎$1⏎e⏎$1⏎5⏎$1⏎d⏎$1⏎4"),
    ("ZPOPMAX z", "*0"),
    ("ZPOPMIN z 2", "*0"),
    ("EXISTS z", ":0"),
    ("ZPOPMIN z -1", "-ERR value is out of range, must be positive"),
    ("ZPOPMIN z x", "-ERR value is out of range, must be positive"),
    ("ZPOPMIN z 1 2", "-ERR syntax error"),
    ("ZADD z 1 a 2 b 3 c", ":3"),
    ("ZMPOP 2 none z MIN", "*2⏎$1⏎z⏎*1⏎*2⏎$1⏎a⏎$1⏎1"),
    ("ZMPOP 2 none z max COUNT 10", "*2⏎$1⏎z⏎*2⏎*2⏎$1⏎c⏎$1⏎3⏎*2⏎$1⏎b⏎$1⏎2"),
    ("ZMPOP 2 none z MIN", "*-1"),
    ("ZMPOP 1 z", "-ERR wrong number of arguments for 'zmpop' command"),
    ("ZMPOP 0 z MIN", "-ERR numkeys should be greater than 0"),
    ("ZMPOP x z MIN", "-ERR numkeys should be greater than 0"),
    ("ZMPOP 2 z MIN", "-ERR syntax error"),
    ("ZMPOP 9223372036854775807 z MIN", "-ERR syntax error"),
    ("ZMPOP 1 z MID", "-ERR syntax error"),
    ("ZMPOP 1 z MIN COUNT", "-ERR syntax error"),
    ("ZMPOP 1 z MIN COUNT 0", "-ERR count should be greater than 0"),
    ("ZMPOP 1 z MIN COUNT x", "-ERR count should be greater than 0"),
    ("ZMPOP 1 z MIN COUNT 1 COUNT 2", "-ERR syntax error"),
    ("ZMPOP 1 z MIN FOO 1", "-ERR syntax error"),
    // Unions, intersections, differences.
    ("ZADD x 1 a 2 b 3 c", ":3"),
    ("ZADD y 10 b 20 c 30 d", ":3"),
    ("ZUNION 2 x y", "*4⏎$1⏎a⏎$1⏎b⏎$1⏎c⏎$1⏎d"),
    ("ZUNION 2 x y WITHSCORES", "*8⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$2⏎12⏎$1⏎c⏎$2⏎23⏎$1⏎d⏎$2⏎30"),
    ("ZUNION 2 x y WEIGHTS 2 0.5 WITHSCORES", "*8⏎$1⏎a⏎$1⏎2⏎$1⏎b⏎$1⏎9⏎$1⏎d⏎$2⏎15⏎$1⏎c⏎$2⏎16"),
    ("ZUNION 2 x y AGGREGATE MIN WITHSCORES", "*8⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3⏎$1⏎d⏎$2⏎30"),
    (
        "ZUNION 2 x y WITHSCORES AGGREGATE max WEIGHTS 1 -1",
        "*8⏎$1⏎d⏎$3⏎-30⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3",
    ),
    ("ZUNION 3 x y none", "*4⏎$1⏎a⏎$1⏎b⏎$1⏎c⏎$1⏎d"),
    ("ZUNION 2 x x WITHSCORES", "*6⏎$1⏎a⏎$1⏎2⏎$1⏎b⏎$1⏎4⏎$1⏎c⏎$1⏎6"),
    ("ZINTER 2 x y WITHSCORES", "*4⏎$1⏎b⏎$2⏎12⏎$1⏎c⏎$2⏎23"),
    ("ZINTER 2 x y WEIGHTS 2 3 AGGREGATE MAX WITHSCORES", "*4⏎$1⏎b⏎$2⏎30⏎$1⏎c⏎$2⏎60"),
    ("ZINTER 2 x none", "*0"),
    ("ZINTER 1 x WITHSCORES", "*6⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3"),
    ("ZINTER 2 x x AGGREGATE MIN WITHSCORES", "*6⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3"),
    ("ZDIFF 2 x y WITHSCORES", "*2⏎$1⏎a⏎$1⏎1"),
    ("ZDIFF 2 x none", "*3⏎$1⏎a⏎$1⏎b⏎$1⏎c"),
    ("ZDIFF 2 none x", "*0"),
    ("ZDIFF 2 x x", "*0"),
    ("ZDIFF 1 x", "*3⏎$1⏎a⏎$1⏎b⏎$1⏎c"),
    ("ZINTERCARD 2 x y", ":2"),
    ("ZINTERCARD 2 x y LIMIT 1", ":1"),
    ("ZINTERCARD 2 x y LIMIT 0", ":2"),
    ("ZINTERCARD 2 x none", ":0"),
    ("ZUNIONSTORE d 2 x y WEIGHTS 1 10", ":4"),
    ("ZRANGE d 0 -1 WITHSCORES", "*8⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$3⏎102⏎$1⏎c⏎$3⏎203⏎$1⏎d⏎$3⏎300"),
    ("ZINTERSTORE d 2 x y AGGREGATE MIN", ":2"),
    ("ZRANGE d 0 -1 WITHSCORES", "*4⏎$1⏎b⏎$1⏎2⏎$1⏎c⏎$1⏎3"),
    ("ZDIFFSTORE d 2 x y", ":1"),
    ("ZRANGE d 0 -1 WITHSCORES", "*2⏎$1⏎a⏎$1⏎1"),
    ("ZINTERSTORE d 2 x none", ":0"),
    ("EXISTS d", ":0"),
    ("ZUNIONSTORE x 2 x y", ":4"),
    ("ZRANGE x 0 -1 WITHSCORES", "*8⏎$1⏎a⏎$1⏎1⏎$1⏎b⏎$2⏎12⏎$1⏎c⏎$2⏎23⏎$1⏎d⏎$2⏎30"),
    ("SET string x", "+OK"),
    ("ZDIFFSTORE string 1 x", ":4"),
    ("TYPE string", "+zset"),
    ("ZADD i inf a -inf b", ":2"),
    ("ZADD j -inf a inf b", ":2"),
    ("ZUNION 2 i j WITHSCORES", "*4⏎$1⏎a⏎$1⏎0⏎$1⏎b⏎$1⏎0"),
    ("ZINTER 2 i j WITHSCORES", "*4⏎$1⏎a⏎$1⏎0⏎$1⏎b⏎$1⏎0"),
    ("ZUNION 2 i j WEIGHTS 0 1 WITHSCORES", "*4⏎$1⏎a⏎$4⏎-inf⏎$1⏎b⏎$3⏎inf"),
    ("ZINTER 2 i j WEIGHTS 1 0 WITHSCORES", "*4⏎$1⏎a⏎$1⏎0⏎$1⏎b⏎$1⏎0"),
    ("ZUNION 0 x", "-ERR at least 1 input key is needed for 'zunion' command"),
    ("ZUNION -1 x", "-ERR at least 1 input key is needed for 'zunion' command"),
    ("ZINTERCARD 0 x", "-ERR at least 1 input key is needed for 'zintercard' command"),
    ("ZDIFFSTORE d 0 x", "-ERR at least 1 input key is needed for 'zdiffstore' command"),
    ("ZUNION a x", "-ERR value is not an integer or out of range"),
    ("ZUNION 2 x", "-ERR syntax error"),
    ("ZUNION 9223372036854775807 x", "-ERR syntax error"),
    ("ZUNION 1 x FOO", "-ERR syntax error"),
    ("ZUNION 1 x WEIGHTS", "-ERR syntax error"),
    ("ZUNION 2 x y WEIGHTS 1", "-ERR syntax error"),
    ("ZUNION 1 x WEIGHTS a", "-ERR weight value is not a float"),
    ("ZUNION 1 x AGGREGATE", "-ERR syntax error"),
    ("ZUNION 1 x AGGREGATE foo", "-ERR syntax error"),
    ("ZDIFF 1 x WEIGHTS 1", "-ERR syntax error"),
    ("ZDIFF 1 x AGGREGATE SUM", "-ERR syntax error"),
    ("ZUNIONSTORE d 1 x WITHSCORES", "-ERR syntax error"),
    ("ZINTERCARD 1 x LIMIT", "-ERR syntax error"),
    ("ZINTERCARD 1 x LIMIT -1", "-ERR LIMIT can't be negative"),
    ("ZINTERCARD 1 x LIMIT a", "-ERR LIMIT can't be negative"),
    ("ZINTERCARD 1 x WITHSCORES", "-ERR syntax error"),
    ("ZINTERCARD 1 x WEIGHTS 1", "-ERR syntax error"),
    // Members at random.
    ("ZADD r 1 a", ":1"),
    ("ZRANDMEMBER r", "$1⏎a"),
    ("ZRANDMEMBER none", "$-1"),
    ("ZRANDMEMBER r 5", "*1⏎$1⏎a"),
    ("ZRANDMEMBER r 0", "*0"),
    ("ZRANDMEMBER r -3", "*3⏎$1⏎a⏎$1⏎a⏎$1⏎a"),
    ("ZRANDMEMBER r -2 WITHSCORES", "*4⏎$1⏎a⏎$1⏎1⏎$1⏎a⏎$1⏎1"),
    ("ZRANDMEMBER r 1 WITHSCORES", "*2⏎$1⏎a⏎$1⏎1"),
    ("ZRANDMEMBER none 5", "*0"),
    ("ZRANDMEMBER none 5 WITHSCORES", "*0"),
    ("ZRANDMEMBER r x", "-ERR value is not an integer or out of range"),
    ("ZRANDMEMBER r 1 FOO", "-ERR syntax error"),
    ("ZRANDMEMBER r 1 WITHSCORES 2", "-ERR syntax error"),
    (
        "ZRANDMEMBER r -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    ),
    ("ZRANDMEMBER r 9223372036854775807 WITHSCORES", "-ERR value is out of range"),
    ("ZRANDMEMBER r 9223372036854775807", "*1⏎$1⏎a"),
    // Walks.
    ("ZADD r 0.5 b", ":1"),
    ("ZSCAN r 0", "*2⏎$1⏎0⏎*4⏎$1⏎b⏎$3⏎0.5⏎$1⏎a⏎$1⏎1"),
    ("ZSCAN r 0 MATCH a* COUNT 5", "*2⏎$1⏎0⏎*2⏎$1⏎a⏎$1⏎1"),
    ("ZSCAN none 0", "*2⏎$1⏎0⏎*0"),
    ("ZSCAN none 0 FOO", "*2⏎$1⏎0⏎*0"),
    ("ZSCAN r x", "-ERR invalid cursor"),
    ("ZSCAN r 0 COUNT 0", "-ERR syntax error"),
    ("ZSCAN r 0 COUNT x", "-ERR value is not an integer or out of range"),
    ("ZSCAN r 0 FOO 1", "-ERR syntax error"),
    ("ZSCAN r 0 MATCH", "-ERR syntax error"),
    ("ZSCAN r 0 NOVALUES", "-ERR NOVALUES option can only be used in HSCAN"),
    // Another type.
    ("SET string x", "+OK"),
    ("ZADD string 1 a", WRONG_TYPE),
    ("ZADD string x a", "-ERR value is not a valid float"),
    ("ZINCRBY string 1 a", WRONG_TYPE),
    ("ZREM string a", WRONG_TYPE),
    ("ZCARD string", WRONG_TYPE),
    ("ZSCORE string a", WRONG_TYPE),
    ("ZMSCORE string a", WRONG_TYPE),
    ("ZCOUNT string 0 1", WRONG_TYPE),
    ("ZCOUNT string a 1", "-ERR min or max is not a float"),
    ("ZLEXCOUNT string - +", WRONG_TYPE),
    ("ZRANK string a", WRONG_TYPE),
    ("ZRANGE string 0 -1", WRONG_TYPE),
    ("ZRANGESTORE d string 0 -1", WRONG_TYPE),
    ("ZREMRANGEBYRANK string 0 -1", WRONG_TYPE),
    ("ZPOPMIN string", WRONG_TYPE),
    ("ZPOPMAX string 0", WRONG_TYPE),
    ("ZMPOP 2 none string MIN", WRONG_TYPE),
    ("ZUNION 2 x string", WRONG_TYPE),
    ("ZUNION 2 string x FOO", WRONG_TYPE),
    ("ZINTERCARD 1 string", WRONG_TYPE),
    ("ZDIFFSTORE d 1 string", WRONG_TYPE),
    ("ZRANDMEMBER string", WRONG_TYPE),
    ("ZSCAN string 0", WRONG_TYPE),
    ("GET x", WRONG_TYPE),
    ("INCR x", WRONG_TYPE),
    ("SETRANGE x 0 a", WRONG_TYPE),
    ("GET string", "$1⏎x"),
];

#[test]
fn replies_are_redis_s() {
    check(SCRIPT);
}

#[test]
fn ranks_come_with_scores_if_wanted() {
    check(&[
        ("ZADD z 1 a 2.5 b", ":2"),
        ("ZRANK z b WITHSCORE", "*2⏎:1⏎$3⏎2.5"),
        ("ZREVRANK z b withscore", "*2⏎:0⏎$3⏎2.5"),
        ("ZRANK z none WITHSCORE", "*-1"),
        ("ZRANK none a WITHSCORE", "*-1"),
        ("ZRANK z a WITHSCORES", "-ERR syntax error"),
        ("ZRANK z a WITHSCORE 1", "-ERR wrong number of arguments for 'zrank' command"),
        ("ZREVRANK z a b c d", "-ERR wrong number of arguments for 'zrevrank' command"),
    ]);
}

#[test]
fn resp3_has_doubles_and_pairs() {
    let mut shards = Shards::new(3);
    shards.proto = Proto::Resp3;
    for (line, expect) in [
        ("ZADD z 1 a 2.5 b inf c", ":3"),
        ("ZADD z INCR 1 a", ",2"),
        ("ZADD z INCR NX 1 a", "_"),
        ("ZINCRBY z -1 a", ",1"),
        ("ZSCORE z c", ",inf"),
        ("ZSCORE z none", "_"),
        ("ZMSCORE z a none", "*2⏎,1⏎_"),
        ("ZRANK z b WITHSCORE", "*2⏎:1⏎,2.5"),
        ("ZRANK z none WITHSCORE", "_"),
        ("ZRANK z none", "_"),
        ("ZRANGE z 0 0", "*1⏎$1⏎a"),
        ("ZRANGE z 0 1 WITHSCORES", "*2⏎*2⏎$1⏎a⏎,1⏎*2⏎$1⏎b⏎,2.5"),
        ("ZUNION 1 z WITHSCORES", "*3⏎*2⏎$1⏎a⏎,1⏎*2⏎$1⏎b⏎,2.5⏎*2⏎$1⏎c⏎,inf"),
        ("ZRANDMEMBER none", "_"),
        ("ZMPOP 1 none MIN", "_"),
        ("ZSCAN z 0 MATCH b", "*2⏎$1⏎0⏎*2⏎$1⏎b⏎$3⏎2.5"),
        ("ZPOPMIN z", "*2⏎$1⏎a⏎,1"),
        ("ZPOPMAX z 1", "*1⏎*2⏎$1⏎c⏎,inf"),
        ("ZRANDMEMBER z -2 WITHSCORES", "*2⏎*2⏎$1⏎b⏎,2.5⏎*2⏎$1⏎b⏎,2.5"),
        ("ZMPOP 1 z MIN", "*2⏎$1⏎z⏎*1⏎*2⏎$1⏎b⏎,2.5"),
        ("ZPOPMIN z", "*0"),
    ] {
        assert_eq!(shards.line(line), expect, "{line}");
    }
}

/// A large one, with members 0 to 999 and these as scores.
fn thousand(shards: &mut Shards) {
    let pairs: Vec<String> = (0..1000).map(|number| format!("{number} {number}")).collect();
    assert_eq!(shards.line(&format!("ZADD z {}", pairs.join(" "))), ":1000");
    assert_eq!(shards.line("OBJECT ENCODING z"), "$8⏎skiplist");
}

#[test]
fn large_ones_answer_as_small_ones_do() {
    let mut shards = Shards::new(1);
    thousand(&mut shards);
    for (line, expect) in [
        ("ZCARD z", ":1000"),
        ("ZRANK z 500", ":500"),
        ("ZREVRANK z 500", ":499"),
        ("ZCOUNT z (10 20", ":10"),
        ("ZRANGE z 998 2000", "*2⏎$3⏎998⏎$3⏎999"),
        ("ZRANGE z (500 +inf BYSCORE LIMIT 100 2", "*2⏎$3⏎601⏎$3⏎602"),
        ("ZRANGE z +inf (500 BYSCORE REV LIMIT 100 2", "*2⏎$3⏎899⏎$3⏎898"),
        ("ZPOPMIN z 2", "*4⏎$1⏎0⏎$1⏎0⏎$1⏎1⏎$1⏎1"),
        ("ZPOPMAX z 2", "*4⏎$3⏎999⏎$3⏎999⏎$3⏎998⏎$3⏎998"),
        ("ZREMRANGEBYRANK z 0 97", ":98"),
        ("ZREMRANGEBYSCORE z (500 inf", ":497"),
        ("ZRANGE z 0 0", "*1⏎$3⏎100"),
        ("ZADD z -0.5 500", ":0"),
        ("ZRANGE z 0 0 WITHSCORES", "*2⏎$3⏎500⏎$4⏎-0.5"),
        ("ZRANGESTORE d z 0 127", ":128"),
        ("OBJECT ENCODING d", "$8⏎listpack"),
        ("ZUNIONSTORE d 2 d z", ":401"),
        ("OBJECT ENCODING d", "$8⏎skiplist"),
        ("ZINTERCARD 2 d z LIMIT 300", ":300"),
        ("ZDIFF 2 z d", "*0"),
        ("ZREMRANGEBYRANK z 0 -1", ":401"),
        ("EXISTS z", ":0"),
    ] {
        assert_eq!(shards.line(line), expect, "{line}");
    }
}

#[test]
fn walks_meet_all_members() {
    let mut shards = Shards::new(1);
    thousand(&mut shards);
    let (mut seen, mut cursor, mut calls) = (BTreeSet::new(), "0".to_owned(), 0);
    loop {
        let found = bulks(&shards.send(&words(&format!("ZSCAN z {cursor} COUNT 50"))));
        assert!(found[1..].chunks(2).all(|pair| pair[0] == pair[1]));
        seen.extend(found[1..].chunks(2).map(|pair| pair[0].clone()));
        cursor = String::from_utf8(found[0].clone()).unwrap();
        calls += 1;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
    assert!((5..=20).contains(&calls), "{calls}");
}

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn members_at_random_are_different_unless_they_may_repeat() {
    let mut shards = Shards::new(1);
    thousand(&mut shards);
    let mut drawn = |line: &str| bulks(&shards.send(&words(line)));
    for count in [1, 10, 333, 334, 900, 1000, 2000] {
        let members = drawn(&format!("ZRANDMEMBER z {count}"));
        assert_eq!(members.len(), count.min(1000));
        assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), members.len(), "{count}");
    }
    let members = drawn("ZRANDMEMBER z -5000");
    let different = members.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(members.len(), 5000);
    // All but a handful come up, each with a chance of 1 - 1/e^5.
    assert!((950..=1000).contains(&different), "{different}");
    let pairs = drawn("ZRANDMEMBER z 500 WITHSCORES");
    assert_eq!(pairs.len(), 1000);
    assert!(pairs.chunks(2).all(|pair| pair[0] == pair[1]));
    let first: BTreeSet<_> = (0..50).map(|_| drawn("ZRANDMEMBER z")).collect();
    assert!(first.len() > 25, "{}", first.len());
    let most = drawn("ZRANDMEMBER z -9223372036854775807");
    assert!(most.is_empty(), "more than is answered at once");
}

#[test]
fn sets_may_be_combined_with_sorted_sets() {
    for count in [1, 7] {
        let mut shards = Shards::new(count);
        put_set(&mut shards, b"s", &["a", "5", "x"]);
        for (line, expect) in [
            ("ZADD z 10 a 20 5 30 z", ":3"),
            ("ZINTER 2 z s WITHSCORES", "*4⏎$1⏎a⏎$2⏎11⏎$1⏎5⏎$2⏎21"),
            (
                "ZUNION 2 s z WEIGHTS 2 1 WITHSCORES",
                "*8⏎$1⏎x⏎$1⏎2⏎$1⏎a⏎$2⏎12⏎$1⏎5⏎$2⏎22⏎$1⏎z⏎$2⏎30",
            ),
            ("ZDIFF 2 s z WITHSCORES", "*2⏎$1⏎x⏎$1⏎1"),
            ("ZINTERCARD 2 s z", ":2"),
            ("ZUNIONSTORE s 1 s", ":3"),
            ("TYPE s", "+zset"),
        ] {
            assert_eq!(shards.line(line), expect, "{line}");
        }
    }
}

fn put_set(shards: &mut Shards, name: &[u8], members: &[&str]) {
    let slot = key_slot(name);
    let shard = shards.owners.slots().shard_of(slot).0;
    let keyspace: &mut Keyspace = &mut shards.keyspaces[usize::from(shard)];
    let key = Key { db: DbIndex(0), slot, bytes: name };
    let added =
        keyspace.change(key, Missing::Create, UnixMs(1), |set: &mut Set, edit: &mut Edit<'_>| {
            members.iter().filter(|member| set.add(member.as_bytes(), edit)).count()
        });
    assert_eq!(added, Ok(Some(members.len())));
}

/// Changes, hits and misses, as `INFO` counts them.
#[test]
fn changes_hits_and_misses_are_counted() {
    let mut shards = Shards::new(2);
    for (line, expect) in [
        ("ZADD z 1 a 2 b", [1, 0, 0]),
        ("ZADD z 1 a", [0, 0, 0]),
        ("ZADD z XX GT 0 a", [0, 0, 0]),
        ("ZADD none XX 1 a", [0, 0, 0]),
        ("ZINCRBY z 1 a", [1, 0, 0]),
        ("ZREM z none", [0, 0, 0]),
        ("ZSCORE z a", [0, 1, 0]),
        ("ZSCORE none a", [0, 0, 1]),
        ("ZUNION 3 z none z", [0, 2, 1]),
        ("ZUNION 3 z none z FOO", [0, 2, 1]),
        ("ZRANGESTORE d z 0 -1", [1, 1, 0]),
        ("ZRANGESTORE d none 0 -1", [1, 0, 1]),
        ("ZRANGESTORE d none 0 -1", [0, 0, 1]),
        ("ZPOPMIN z", [1, 0, 0]),
        ("ZREM z b", [1, 0, 0]),
        ("ZPOPMIN z", [0, 0, 0]),
    ] {
        assert_eq!(shards.counted(line), expect, "{line}");
    }
}
