//! One core: its ring, its connections, the shard tokens, the mailboxes between cores. All I/O and
//! nearly all `unsafe` of the server is here.
//!
//! | file | what it is |
//! |---|---|
//! | `core` | the loop of one core |
//! | `ring`, `buffers` | io_uring: operations, completions, receive buffers |
//! | `listener`, `traffic` | connections come, bytes go in and out, connections end or move |
//! | `connection`, `input`, `output`, `table` | one connection, its bytes, all connections of a core |
//! | `window`, `dispatch` | from bytes to requests, from requests to commands on shards |
//! | `plain` | the plain requests of one pipeline: which they are, and how they run on the only shard |
//! | `sorted` | the same on several shards, run shard by shard |
//! | `frames` | the same for the binary protocol: frames to requests, replies to frames |
//! | `burst` | plain gets and sets of frames, run in one go |
//! | `engine` | runs a command, counts and times it |
//! | `stages`, `turn`, `timeline` | where the time goes: stages of a latency, arrival of bytes, replies owed |
//! | `attend` | who is to hear of what commands have changed |
//! | `blocking`, `deadlines` | clients that wait in blocking commands, and until when |
//! | `tracking` | clients that keep copies of values are told when keys change |
//! | `effects` | session commands and what they make the core do |
//! | `token`, `shards` | who may touch which shard |
//! | `room` | the memory limit, shared out among the shards |
//! | `redirect` | in a cluster: what this node does not serve, and who does |
//! | `forward` | what other nodes carry out for clients that do not speak cluster, and this one for theirs |
//! | `topology` | shards that change owners, and telling clients |
//! | `batch`, `multi` | commands for a shard another core holds, commands over several shards |
//! | `away` | shards that a core has something to do for and whose tokens are not free |
//! | `queue` | whoever holds a shard serves those who wait for it |
//! | `steps` | commands with very much to do, in steps over many turns |
//! | `mail` | messages between cores |
//! | `logger`, `log_files` | the shards' logs: their writes and syncs on the ring, their files |
//! | `log_life` | logs are read at the start, begun and ended while the server runs, closed |
//! | `replicas` | the shards' replicas: time and messages in, messages out |
//! | `rebuild` | data that replicas make again from their own logs |
//! | `gate` | replies that wait for the disk, or for a quorum |
//! | `log_waits` | clients that wait for what all logs come to |
//! | `links`, `link`, `link_traffic` | connections between nodes: who is linked to, one of them, their bytes |
//! | `replicas` | what comes over them for the shards of this core |

mod attend;
mod away;
mod batch;
mod blocking;
mod buffers;
mod burst;
mod connection;
mod core;
mod deadlines;
mod dispatch;
mod effects;
mod engine;
mod forward;
mod frames;
mod gate;
mod input;
mod link;
mod link_traffic;
mod links;
mod listener;
mod log_files;
mod log_life;
mod log_waits;
mod logger;
mod mail;
mod meetings;
mod multi;
mod output;
mod plain;
mod pubsub;
mod queue;
mod reads;
mod rebuild;
mod redirect;
mod replicas;
mod ring;
mod room;
mod shards;
mod sorted;
mod stages;
mod steps;
mod sync;
mod table;
mod timeline;
mod token;
mod topology;
mod tracking;
mod traffic;
mod transaction;
mod turn;
mod window;

pub(crate) use connection::Port;
pub(crate) use core::CoreParts;
pub(crate) use links::LinkOptions;
pub(crate) use listener::Listener;
pub(crate) use log_files::{
    Content, Folder, LogFiles, direct_align_bytes, disk_error, free_bytes, shard_folder,
};
pub(crate) use log_life::{Recovering, unreadable_log};
pub(crate) use mail::{Message, Peer};
pub(crate) use replicas::RecoveringReplica;
pub(crate) use shards::ShardCell;

use std::io;

/// Bytes of memory that the rings and receive buffers of one core take.
pub(crate) const RING_BYTES: usize = ring::Ring::QUEUE_BYTES + buffers::Buffers::MAPPED_BYTES;

/// Serves until told to stop. `started` hears once whether the core came up.
///
/// It never yields: nothing else runs on this core's executor, and glommio 0.9 may sleep for good beside a task that is
/// ready to run, if the thread got no CPU for the length of its preempt timer just before it looked for one.
pub(crate) async fn serve(parts: CoreParts<'_>, started: flume::Sender<io::Result<()>>) {
    // The buffers outlive the ring: they are declared first and so dropped last.
    let mut buffers;
    let mut core = match ring::Ring::new() {
        Ok((ring, registered)) => {
            buffers = registered;
            core::Core::new(parts, ring)
        }
        Err(error) => {
            // The server waits for this word; if it is gone there is nobody to tell.
            let _ = started.send(Err(error));
            return;
        }
    };
    core.start();
    let _ = started.send(Ok(()));
    drop(started);
    let mut completions = Vec::with_capacity(crate::limits::RING_COMPLETIONS as usize);
    loop {
        let wait = core.may_sleep();
        buffers.publish();
        if let Err(error) = core.enter(wait, &mut completions) {
            tracing::error!("io_uring_enter failed, the server stops: {error}");
            core.ask_to_stop();
            return;
        }
        if !core.turn(&mut buffers, &mut completions) {
            // What waited for the last sync leaves.
            let _ = core.enter(false, &mut completions);
            return;
        }
    }
}
