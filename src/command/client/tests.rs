//! `CLIENT` against Redis 7.0's replies.

use crate::command::Action;
use crate::command::session::ReplyMode;
use crate::command::testing::{Client, node};
use crate::node::{ClientBuffers, ClientFlags, PauseMode};
use crate::types::{ClientId, MonoUs, UnixMs};

const SPACES: &str = "-ERR Client names cannot contain spaces, newlines or special characters.";

#[test]
fn names() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    client.check(&[
        ("CLIENT ID", ":1"),
        ("CLIENT GETNAME", "$-1"),
        ("CLIENT SETNAME me", "+OK"),
        ("client getname", "$2⏎me"),
        ("CLIENT SETNAME a\tb", SPACES),
        ("CLIENT SETNAME é", SPACES),
        ("CLIENT GETNAME", "$2⏎me"),
        ("CLIENT SETNAME ''", "+OK"),
        ("CLIENT GETNAME", "$-1"),
        ("CLIENT SETINFO LIB-NAME redis-py", "+OK"),
        ("CLIENT SETINFO lib-ver 5.0", "+OK"),
        ("CLIENT SETINFO x y", "-ERR Unrecognized option 'x'"),
        (
            "CLIENT SETINFO lib-ver a\tb",
            "-ERR lib-ver cannot contain spaces, newlines or special characters.",
        ),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command"),
        ("CLIENT x", "-ERR unknown subcommand 'x'. Try CLIENT HELP."),
    ]);
    let names = client.session.info.names().clone();
    assert_eq!((&*names.lib_name, &*names.lib_ver), ("redis-py", "5.0"));
}

#[test]
fn switches() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    client.check(&[
        ("CLIENT NO-EVICT on", "+OK"),
        ("CLIENT NO-TOUCH ON", "+OK"),
        ("CLIENT NO-TOUCH x", "-ERR syntax error"),
        ("CLIENT NO-EVICT x", "-ERR syntax error"),
    ]);
    assert!(client.session.no_evict && client.session.no_touch);
    assert_eq!(client.session.info.flags(), ClientFlags::NO_EVICT | ClientFlags::NO_TOUCH);
    client.check(&[("CLIENT NO-EVICT off", "+OK"), ("CLIENT NO-TOUCH off", "+OK")]);
    assert!(!client.session.no_evict && !client.session.no_touch);
    for (request, reply, mode) in [
        ("CLIENT REPLY skip", "", ReplyMode::SkipNext),
        ("CLIENT REPLY off", "", ReplyMode::Off),
        ("CLIENT REPLY skip", "", ReplyMode::Off),
        ("CLIENT REPLY on", "+OK⏎", ReplyMode::On),
        ("CLIENT REPLY x", "-ERR syntax error⏎", ReplyMode::On),
    ] {
        assert_eq!((&*client.run(request), client.session.reply_mode), (reply, mode));
    }
}

#[test]
fn pauses() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    let now = client.now.unix;
    let until = |ms, mode| Some((UnixMs(now.0 + ms), mode));
    client.check(&[("CLIENT PAUSE 1000 WRITE", "+OK")]);
    assert_eq!(client.actions, [Action::PauseChanged]);
    assert_eq!(node.pause_until(now), until(1000, PauseMode::Write));
    client.check(&[("CLIENT PAUSE 500", "+OK")]);
    assert_eq!(node.pause_until(now), until(1000, PauseMode::All));
    client.check(&[("CLIENT UNPAUSE", "+OK")]);
    assert_eq!(client.actions, [Action::PauseChanged]);
    client.check(&[
        ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE -1", "-ERR timeout is negative"),
        ("CLIENT PAUSE 9223372036854775807", "-ERR timeout is out of range"),
        ("CLIENT PAUSE 1 x", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
        (
            "CLIENT PAUSE 1 all x",
            "-ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.",
        ),
        ("CLIENT UNBLOCK 5", ":0"),
        ("CLIENT UNBLOCK 5 timeout", ":0"),
        ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range"),
        ("CLIENT UNBLOCK 5 x", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        (
            "CLIENT UNBLOCK 5 error x",
            "-ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.",
        ),
    ]);
    assert_eq!(node.pause_until(now), None);
}

#[test]
fn a_line_has_the_fields_of_redis_in_order() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    let other = Client::new(&node, 16_380);
    other.session.info.set_flags(ClientFlags::MONITOR, true);
    other.session.info.transaction.set_queued(Some(5));
    other.session.info.transaction.set_watched(2);
    other.session.info.set_buffers(ClientBuffers {
        query: 7,
        query_free: 11,
        arguments: 12,
        reply: 1024,
        reply_peak: 99,
        output: 13,
        transaction: 17,
        total: 4096,
    });
    client.now.mono = MonoUs(5_500_000);
    client.run("CLIENT SETNAME me");
    client.run("SELECT 3");
    let own = |command| {
        format!(
            "id=1 addr=127.0.0.1:40001 laddr=127.0.0.1:6379 fd=8 name=me age=5 idle=0 flags=N db=3 \
             sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 \
             rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={command} user=default redir=-1 resp=2 \
             lib-name= lib-ver=\n"
        )
    };
    let others = "id=2 addr=127.0.0.1:40002 laddr=127.0.0.1:16380 fd=8 name= age=5 idle=5 flags=Ox \
                  db=0 sub=0 psub=0 ssub=0 multi=5 watch=2 qbuf=7 qbuf-free=11 argv-mem=12 multi-mem=17 \
                  rbs=1024 rbp=99 obl=13 oll=0 omem=13 tot-mem=4096 events=rw cmd=NULL user=default \
                  redir=-1 resp=2 lib-name= lib-ver=\n";
    let bulk = |text: &str| format!("${}⏎{text}", text.len());
    let list = own("client|list");
    client.check(&[
        ("CLIENT INFO", &bulk(&own("client|info"))),
        ("CLIENT LIST", &bulk(&format!("{list}{others}"))),
        ("CLIENT LIST TYPE normal", &bulk(&format!("{list}{others}"))),
        ("CLIENT LIST TYPE pubsub", "$0⏎"),
        ("CLIENT LIST ID 2 9", &bulk(others)),
        ("CLIENT LIST ID 2 1", &bulk(&format!("{others}{list}"))),
        ("CLIENT LIST ID x", "-ERR Invalid client ID"),
        ("CLIENT LIST ID", "-ERR syntax error"),
        ("CLIENT LIST TYPE x", "-ERR Unknown client type 'x'"),
        ("CLIENT LIST TYPE normal x", "-ERR syntax error"),
        ("CLIENT LIST x", "-ERR syntax error"),
    ]);
}

#[test]
fn kill_chooses_by_every_condition() {
    let node = node();
    let mut client = Client::new(&node, 6379);
    let _others = [Client::new(&node, 6379), Client::new(&node, 16_380)];
    let kill = |ids: &[u64]| Action::Kill(ids.iter().copied().map(ClientId).collect());
    for (request, reply, actions) in [
        ("CLIENT KILL 127.0.0.1:40002", "+OK⏎", vec![kill(&[2])]),
        ("CLIENT KILL 127.0.0.1:40001", "+OK⏎", vec![Action::CloseAfterReply]),
        ("CLIENT KILL 127.0.0.1:1", "-ERR No such client⏎", vec![]),
        ("CLIENT KILL ID 3", ":1⏎", vec![kill(&[3])]),
        ("CLIENT KILL ID 1", ":0⏎", vec![]),
        ("CLIENT KILL ID 1 SKIPME no", ":1⏎", vec![Action::CloseAfterReply]),
        ("CLIENT KILL TYPE normal", ":2⏎", vec![kill(&[2, 3])]),
        ("CLIENT KILL USER default SKIPME no", ":3⏎", vec![Action::CloseAfterReply, kill(&[2, 3])]),
        ("CLIENT KILL LADDR 127.0.0.1:16380", ":1⏎", vec![kill(&[3])]),
        ("CLIENT KILL LADDR 127.0.0.1:16380 ID 2", ":0⏎", vec![]),
        ("CLIENT KILL ADDR 127.0.0.1:40002 SKIPME yes", ":1⏎", vec![kill(&[2])]),
        ("CLIENT KILL TYPE replica", ":0⏎", vec![]),
        ("CLIENT KILL ID 0", "-ERR client-id should be greater than 0⏎", vec![]),
        ("CLIENT KILL ID x", "-ERR client-id should be greater than 0⏎", vec![]),
        ("CLIENT KILL TYPE x", "-ERR Unknown client type 'x'⏎", vec![]),
        ("CLIENT KILL USER x", "-ERR No such user 'x'⏎", vec![]),
        ("CLIENT KILL SKIPME x", "-ERR syntax error⏎", vec![]),
        ("CLIENT KILL x y", "-ERR syntax error⏎", vec![]),
        ("CLIENT KILL ID 1 ID", "-ERR syntax error⏎", vec![]),
    ] {
        assert_eq!((&*client.run(request), &client.actions), (reply, &actions), "{request}");
    }
}
