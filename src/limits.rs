//! Bounds, each with a name. What is full answers or pushes back; nothing grows in silence.

/// Longest inline request, and longest `*N` or `$N` line, in bytes (Redis: `PROTO_INLINE_MAX_SIZE`).
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments of one request.
pub const ARGS_MAX: usize = 1024 * 1024;
/// Most arguments of one request before the client has authenticated (as Redis).
pub const ARGS_MAX_BEFORE_AUTH: usize = 10;
/// Longest argument before the client has authenticated, in bytes (as Redis).
pub const BULK_BYTES_MAX_BEFORE_AUTH: usize = 16 * 1024;
/// Longest argument and longest string value, in bytes (Redis: `proto-max-bulk-len`).
pub const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Values and requests longer than this are kept where they were received and sent from where they lie,
/// instead of being copied.
pub const LONG_BYTES_MIN: usize = 1024 * 1024;
/// Logical databases.
pub const DATABASES: u8 = 16;
/// Most shards of one server.
pub const SHARDS_MAX: u16 = 1024;
/// Messages of other nodes that wait for the token of a shard.
pub const NODE_MESSAGES_WAITING_MAX: usize = 4096;
/// Entries that are proposed and not committed, beyond which changes gather for the next.
pub const REPLICA_ENTRY_WINDOW: u64 = 8;
/// Bytes of entries in one message to another replica, unless one entry is longer.
pub const REPLICA_BATCH_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of entries that a replica keeps in memory for others that are behind, beyond those that it needs itself.
pub const REPLICA_TAIL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of entries that it keeps while a snapshot is on its way, beyond which that is given up.
pub const REPLICA_PINNED_BYTES_MAX: usize = 256 * 1024 * 1024;
const _: () = assert!(REPLICA_TAIL_BYTES_MAX < REPLICA_PINNED_BYTES_MAX);
/// Pieces of a snapshot that are on their way to another replica at a time.
pub const SNAPSHOT_PIECES_IN_FLIGHT: u64 = 64;
/// The same while there is no hurry: what a core that had no CPU for a while takes in at once. With 30 ms there and back
/// they still carry what may be sent in a second.
pub const SNAPSHOT_PIECES_PACED: u64 = 16;
const _: () = assert!(SNAPSHOT_PIECES_PACED <= SNAPSHOT_PIECES_IN_FLIGHT);
/// Such pieces that are sent at once when there was no time for them before.
pub const SNAPSHOT_PIECES_AT_ONCE: u64 = 2;
/// Bytes of such a piece, or one entry more: what clients wait for at either end.
pub const SNAPSHOT_PIECE_BYTES: usize = 16 * 1024;
/// Bytes of a shard's snapshot that a replica is sent in a second, unless too much is kept for it meanwhile.
pub const SNAPSHOT_BYTES_PER_SECOND: u64 = 8 << 20;
/// Bytes of entries that a follower applies in one step.
pub const REPLICA_APPLY_BYTES: usize = 256 * 1024;
/// Milliseconds between notes, for a start after a crash, of how far a log is committed.
pub const REPLICA_COMMIT_EVERY_MS: u64 = 1000;
/// Highest id of a node of a cluster.
pub const NODE_ID_MAX: u64 = 1 << 31;
/// Shortest secret that the nodes of a cluster may share, in bytes.
pub const CLUSTER_SECRET_BYTES_MIN: usize = 32;
/// Longest one.
pub const CLUSTER_SECRET_BYTES_MAX: usize = 64 * 1024;
/// Heartbeats that may go missing before another node may lead.
pub const ELECTION_HEARTBEATS_MIN: u64 = 5;
/// Most nodes, and most cores of each, of a cluster that is started on one machine for a try.
pub const TRY_NODES_MAX: u16 = 9;
/// See [`TRY_NODES_MAX`].
pub const TRY_CORES_MAX: u16 = 64;
/// Most commands and subcommands of the table.
pub const COMMANDS_MAX: usize = 512;
/// Most entries that one `SCAN` visits, whatever its `COUNT` asks for.
pub const SCAN_COUNT_MAX: usize = 10_000;
/// Most elements that one command answers that chooses them at random and may choose one several times.
pub const RANDOM_REPEATS_MAX: usize = 1024 * 1024;

const _: () = assert!(BULK_BYTES_MAX_BEFORE_AUTH < BULK_BYTES_MAX);
const _: () = assert!(ARGS_MAX_BEFORE_AUTH < ARGS_MAX);
const _: () = assert!(SHARDS_MAX <= crate::types::SLOT_COUNT);
const _: () = assert!(TOPOLOGY_OUTPUT_BYTES_MAX < PENDING_OUTPUT_BYTES_MAX);
const _: () = assert!(PENDING_OUTPUT_BYTES_MAX < MONITOR_OUTPUT_BYTES_MAX);

// One core's ring.

/// Submissions a core queues before it must enter the kernel.
pub const RING_SUBMISSIONS: u32 = 1024;
/// Completions the kernel queues before it must be drained.
pub const RING_COMPLETIONS: u32 = 8192;
/// Sockets a core registers with its ring; more are served by their descriptors.
pub const REGISTERED_SOCKETS_MAX: u32 = 1024;
/// Receive buffers of a core; a receive that finds none is started again.
pub const RECEIVE_BUFFERS: u16 = 512;
/// Bytes of one receive buffer.
pub const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;
const _: () = assert!(RECEIVE_BUFFER_BYTES <= u16::MAX as usize);
/// Milliseconds between a core's ticks.
pub const TICK_MS: u32 = 100;

// One connection.

/// Requests that are parsed before the first of them runs.
pub const WINDOW_REQUESTS_MAX: usize = 64;
/// Arguments of a window, beyond which no further request is added.
pub const WINDOW_ARGS_MAX: usize = 512;

/// Plain requests of the binary protocol in a row from which on they are run as a burst.
pub const BURST_REQUESTS_MIN: usize = 4;
/// Longest value that is set in a burst, in bytes.
pub const BURST_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Times that the tokens of the shards of a window are asked for before its requests are left to others.
pub const TOKEN_TRIES: usize = 4;
/// Missing bytes of a request from which on they are received where they belong, rather than in buffers
/// that all connections share.
pub const DIRECT_BYTES_MIN: usize = 64 * 1024;
/// Most bytes that are received so in one go.
pub const DIRECT_BYTES_MAX: usize = 1024 * 1024;
/// Longest memory of a request that is kept for the next, one a core, in bytes.
pub const SPARE_INPUT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest memory of a value that was overwritten that is kept for the next long request, one a core, in bytes.
pub const SPARE_VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;
const _: () = assert!(LONG_BYTES_MIN + RECEIVE_BUFFER_BYTES <= SPARE_INPUT_BYTES_MAX);

/// Unparsed input beyond which a connection that can't go on is no longer read from.
pub const STALLED_INPUT_BYTES_MAX: usize = 256 * 1024;
/// Output waiting for a client that does not read, beyond which its requests are no longer run.
pub const PENDING_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of an unfinished request that earn its client another second for it.
pub const REQUEST_BYTES_PER_SECOND_MIN: u64 = 4 * 1024;
/// Bytes of a long value that are sent in one go.
pub const SEND_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a long value that a core gives back to the system in a turn.
pub const DISCARD_BYTES_MAX: usize = 1024 * 1024;
/// Microseconds that the requests of one client run in one go before others have their turn.
pub const SLICE_US: u64 = 1000;
/// Microseconds for which a core looks again and again for a shard whose token is not free, before it sleeps until it is
/// told.
pub const TOKEN_PATIENCE_US: u64 = 1000;
/// Replies of one client that other cores owe, with those between them, beyond which its requests wait.
pub const OWED_REPLIES_MAX: usize = 1024;
/// Bytes of requests that one client has left to other cores, beyond which its further ones wait.
pub const LEFT_BYTES_MAX: usize = 1024 * 1024;
/// Output waiting for a client that monitors and does not read, beyond which it is closed.
pub const MONITOR_OUTPUT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of published messages that cores have been sent and have not looked at, over all cores, beyond which
/// publishers wait.
pub const PUBLISHED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Output waiting for a client, beyond which it is told of no new topology until it has read; then of
/// the newest only.
pub const TOPOLOGY_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Capacity that an idle connection's buffers keep.
pub const IDLE_BUFFER_BYTES_MAX: usize = 512;

/// Most commands of one transaction.
pub const TRANSACTION_COMMANDS_MAX: usize = 1024 * 1024;
/// Most bytes of their arguments; `client-query-buffer-limit` may well allow less.
pub const TRANSACTION_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Memory of a transaction that is kept for the next, one a core, in bytes.
pub const SPARE_QUEUE_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(BULK_BYTES_MAX < TRANSACTION_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX < u32::MAX as usize);

// One shard.

/// Bytes of values up to which a command that reads all of them runs on a borrowed shard; beyond, it goes
/// to the shard's owner.
pub const SHORT_WORK_BYTES_MAX: usize = 64 * 1024;
/// A command that can be run in steps is, where its keys hold more than this: a copy of it is made then, and its shards
/// serve nobody else until it is done.
pub const STEPWISE_BYTES_MIN: usize = 1024 * 1024;
/// The same for a command that puts in order what its keys hold.
pub const STEPWISE_SORT_BYTES_MIN: usize = 128 * 1024;
/// Elements that a step of a command looks at, or a few more.
pub const STEP_ELEMENTS: usize = 4096;
/// The same where each takes longer: it is looked up elsewhere, or put in its place among others.
pub const STEP_LONG_ELEMENTS: usize = 1024;
/// Bytes of elements that a step of a command copies or writes down.
pub const STEP_BYTES: usize = 64 * 1024;
/// Bytes of strings that a step of a command looks at: about a tenth of a millisecond.
pub const STEP_SCANNED_BYTES: usize = 1024 * 1024;
/// The same for a command that takes time by the product of two lengths.
pub const SHORT_PRODUCT_BYTES_MAX: usize = 1024;

/// Clients whose writes a shard can tell the outcome of; whoever has not written for longest gives way.
pub const OUTCOME_CLIENTS_MAX: usize = 16 * 1024;
/// Writes of one client that a shard can tell the outcome of; the oldest gives way.
pub const OUTCOMES_PER_CLIENT_MAX: usize = 2048;
/// Writes of all clients that a shard can tell the outcome of; the oldest of the client that has most gives way.
pub const OUTCOMES_MAX: usize = 128 * 1024;
/// Time by which a client's clock may be ahead of the server's.
pub const CLIENT_CLOCK_AHEAD_MS: u64 = 60_000;
const _: () = assert!(OUTCOMES_PER_CLIENT_MAX < OUTCOMES_MAX);

/// Expired keys removed in one step.
pub const EXPIRE_BUDGET: usize = 200;
/// Work of evicting that one write, or one step of maintenance, does while a shard is over its limit:
/// keys, counted more where memory has to be moved or given back. About a quarter of a millisecond.
pub const EVICT_BUDGET: usize = 512;
/// Microseconds after which the memory limit is shared out again for a shard that has used up its room.
pub const ROOM_US_MAX: u64 = 1000;
/// Ticks in a second.
pub const TICKS_PER_SECOND: u64 = 10;

// One shard's log.

/// Bytes of a buffer in which records are written; a longer record has one of its own.
pub const LOG_BUFFER_BYTES: usize = 256 * 1024;
/// Changes beyond which they are written without waiting for more.
pub const LOG_WRITE_BYTES_MIN: usize = 64 * 1024;
/// Least time between two writes of fewer changes for which nobody waits.
pub const LOG_WRITE_EVERY_US: u64 = 2000;
/// Changes, or entries of a snapshot, beyond which a record is written in pieces.
pub const LOG_SHORT_BYTES_MAX: usize = 192 * 1024;
/// Bytes of a long record that are summed in one step: about a tenth of a millisecond.
pub const LOG_LONG_STEP_BYTES: usize = 1024 * 1024;
/// Bytes of a piece of very many changes: as it is written, it is freed.
pub const CHANGES_PIECE_BYTES: usize = 1024 * 1024;
/// Most bytes to which a command may bring a record with what keys hold. What its request holds, or one value, may come to
/// that.
pub const CHANGES_BYTES_MAX: usize = 3 * BULK_BYTES_MAX;
/// A record to which more changes have come than this part of that ends before the next command.
pub const CHANGES_BYTES_PARTS: usize = 128;
/// Changes that may wait while the disk is busy, beyond which writes wait.
pub const LOG_WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time after which what is written is synced, for `async`: a second, less the time that a sync takes.
pub const LOG_SYNC_EVERY_MS: u64 = 700;
/// Synced writes of one shard that may be under way at once. With one, who comes while it is waits for two:
/// 50 clients at depth 1 get a tenth less. A third brings nothing more and makes groups smaller.
pub const LOG_WRITES_MAX: usize = 2;
/// Time between tries where the disk was full.
pub const LOG_RETRY_MS: u64 = 500;
/// Segments that are kept to be written again.
pub const LOG_RECYCLED_SEGMENTS_MAX: usize = 2;
/// Time that a core reads in the log of a shard that is being recovered before it looks at its clients.
pub const RECOVERY_STEP_US: u64 = 2000;
/// The same while it serves other shards.
pub const REBUILD_STEP_US: u64 = 300;
/// Bytes of entries in one part of a snapshot.
pub const SNAPSHOT_PART_BYTES: usize = 64 * 1024;
const _: () = assert!(SNAPSHOT_PART_BYTES < LOG_SHORT_BYTES_MAX);
const _: () = assert!(LOG_SHORT_BYTES_MAX + 8192 <= LOG_BUFFER_BYTES);
const _: () = assert!(LOG_WRITE_BYTES_MIN < LOG_BUFFER_BYTES);
const _: () = assert!(LOG_BUFFER_BYTES < LOG_WAITING_BYTES_MAX);

// Between nodes.

/// How long a client waits for a node to come as far as a session token says, unless it says otherwise.
pub const TOKEN_WAIT_MS: u64 = 1000;
/// Most nodes of a cluster, those on their way in or out included.
pub const NODES_MAX: usize = 128;
/// Most nodes that are known of, those that were removed included: their numbers are not used again.
pub const NODE_ENTRIES_MAX: usize = 8 * NODES_MAX;
/// Longest name or address of a host, in bytes.
pub const HOST_BYTES_MAX: usize = 255;
/// Nodes that are dialed at once without being known.
pub const MEETINGS_MAX: usize = NODES_MAX;
/// Time for which a node is dialed that is not known, as long as it does not answer.
pub const MEETING_MS: u64 = 15_000;
/// Words to leaders that wait to be sent.
pub const WISHES_MAX: usize = 4096;
/// Indexes, terms and other counts that replicas tell each other are less.
pub const REPLICA_NUMBERS_END: u64 = 1 << 63;
/// Longest context of a message or an entry of Raft's, in bytes.
pub const REPLICA_CONTEXT_BYTES_MAX: usize = 2048;
/// Requests of operators that wait for a replica.
pub const REPLICA_REQUESTS_MAX: usize = 64;
/// Longest content of an entry that is copied out of what was received; longer ones share its memory.
pub const REPLICA_COPIED_BYTES_MAX: usize = 4 * 1024;
/// Longest message that a link carries: an entry of the log with something around it.
pub const LINK_MESSAGE_BYTES_MAX: usize = (3 << 30) + 1024 * 1024;
/// Most bytes that a link carries under one authentication code. Longer messages go in pieces, which are copied.
pub const LINK_FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The same as long as the other side has not shown that it is there.
pub const LINK_FIRST_FRAME_BYTES_MAX: usize = 16 * 1024;
/// Messages that wait for one other node to take them, in bytes, beyond which further ones are dropped: Raft
/// says again what matters. One message may go beyond.
pub const LINK_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same, beyond which nothing that clients publish is told to that node: Raft has the rest to itself.
pub const LINK_NEWS_BYTES_MAX: usize = LINK_QUEUE_BYTES_MAX / 2;
/// Memory that a link keeps for what it sends and receives, however little that was lately.
pub const LINK_SPARE_BYTES_MAX: usize = 64 * 1024;
/// Connections to a core's port for links that have not shown yet that they are a node's.
pub const LINKS_UNKNOWN_MAX: usize = 256;
/// Time that a link may take to be made.
pub const LINK_HANDSHAKE_MS: u64 = 2000;
/// Time after which a link that has nothing to say says so.
pub const LINK_PING_MS: u64 = 1000;
/// Silence after which a link is given up, and time that what was sent may stay unacknowledged.
pub const LINK_SILENCE_MS: u64 = 2500;
/// Time after which a node ends that is welcome nowhere, because another process has its number: several times as
/// long as it takes to notice that the process before it is gone.
pub const LINK_DOUBLE_MS: u64 = 4 * LINK_SILENCE_MS;
/// Least time before a link that broke is made again; it doubles with every try.
pub const LINK_RETRY_MS_MIN: u64 = 50;
/// Most.
pub const LINK_RETRY_MS_MAX: u64 = 1000;
/// Connections that a core is making at a time to carry clients' commands to other nodes; more wait for their turn.
pub const FORWARDS_MADE_MAX: usize = 16;
/// Time that such a connection may take to be made, its turn included.
pub const FORWARD_HANDSHAKE_MS: u64 = LINK_HANDSHAKE_MS;
/// Time after which one that its client does not use is closed.
pub const FORWARD_IDLE_MS: u64 = 60_000;
/// Election timeouts for which a command waits for a leader of its keys, once: mostly there is one after two.
pub const LEADER_AWAITED_TIMEOUTS: u64 = 3;
/// Time after which a client that asks again waits again.
pub const LEADER_AWAITED_AGAIN_MS: u64 = 500;
/// Memory that it keeps for what it sends and receives, however little that was lately.
pub const FORWARD_SPARE_BYTES_MAX: usize = 16 * 1024;
const _: () = assert!(2 * (TICK_MS as u64) < LEADER_AWAITED_AGAIN_MS);
const _: () = assert!(FORWARDS_MADE_MAX < LINKS_UNKNOWN_MAX);
const _: () = assert!(REPLICA_CONTEXT_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(
    6 + NODE_ENTRIES_MAX * (22 + HOST_BYTES_MAX) + SHARDS_MAX as usize * 16 + NODES_MAX * 8
        < LINK_FRAME_BYTES_MAX
);
const _: () = assert!(NODE_ENTRIES_MAX <= u16::MAX as usize);
const _: () = assert!(LINK_MESSAGE_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(LINK_FRAME_BYTES_MAX < LINK_QUEUE_BYTES_MAX);
const _: () = assert!(LINK_NEWS_BYTES_MAX + LINK_FRAME_BYTES_MAX < LINK_MESSAGE_BYTES_MAX);
const _: () = assert!(LINK_NEWS_BYTES_MAX + LINK_FRAME_BYTES_MAX < LINK_QUEUE_BYTES_MAX);
const _: () = assert!(REPLICA_BATCH_BYTES_MAX < LINK_FRAME_BYTES_MAX as u64);
// An announcement of as many cores and shards as there may be.
const _: () = assert!(64 + 4 * SHARDS_MAX as usize <= LINK_FIRST_FRAME_BYTES_MAX);
const _: () = assert!(2 * LINK_PING_MS < LINK_SILENCE_MS);
const _: () = assert!(NODES_MAX <= u16::MAX as usize);

// The binary protocol.

/// Most requests or replies of one frame.
pub const BINARY_FRAME_ITEMS_MAX: usize = 1024;
/// Most bytes of all bodies of one frame of requests.
pub const BINARY_FRAME_BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Most requests of one frame before the client has authenticated.
pub const BINARY_FRAME_ITEMS_MAX_BEFORE_AUTH: usize = 10;
/// Longest key, in bytes.
pub const BINARY_KEY_BYTES_MAX: usize = 65_535;
/// Bytes of bodies after which a frame of replies is closed and another begun.
pub const BINARY_REPLY_FRAME_BYTES: usize = 256 * 1024;
/// Longest body of one reply, in bytes.
pub const BINARY_REPLY_BODY_BYTES_MAX: usize = 1024 * 1024 * 1024;

const _: () = assert!(BULK_BYTES_MAX + BINARY_KEY_BYTES_MAX < BINARY_FRAME_BODY_BYTES_MAX);
const _: () = assert!(BINARY_FRAME_ITEMS_MAX_BEFORE_AUTH < BINARY_FRAME_ITEMS_MAX);

// A connection of the client library.

/// Requests that a client has under way on one connection unless it is built with another number.
pub const CLIENT_IN_FLIGHT: usize = 1024;
/// Most requests that a client may have under way on one connection: their numbers take 16 bits.
pub const CLIENT_IN_FLIGHT_MAX: usize = u16::MAX as usize;
/// Most connections that a client opens to one core.
pub const CLIENT_CONNECTIONS_PER_CORE_MAX: usize = 64;
/// Times that a client sends one request.
pub const CLIENT_ATTEMPTS_MAX: u32 = 50;
/// Output of a client's connection that the kernel has not taken, beyond which requests wait.
pub const CLIENT_OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Free input that a client's connection offers the kernel at least.
pub const CLIENT_INPUT_BYTES: usize = 32 * 1024;
/// Longest value that is copied out of the input; longer ones share its memory.
pub const CLIENT_COPIED_BYTES_MAX: usize = 4 * 1024;
/// Times that a client's connection reads before others of its thread have their turn.
pub const CLIENT_READS_PER_TURN: usize = 16;
/// Keys that a client's `get_many` and `set_many` put into one request.
pub const CLIENT_MANY_KEYS_MAX: usize = 1024;
/// Bytes of keys and values beyond which a client's `set_many` begins another request.
pub const CLIENT_MANY_BYTES_MAX: usize = 1024 * 1024;
/// Values inside one another in the reply to a command.
pub const CLIENT_REPLY_DEPTH_MAX: usize = 32;

const _: () = assert!(CLIENT_IN_FLIGHT <= CLIENT_IN_FLIGHT_MAX);
const _: () = assert!(CLIENT_MANY_KEYS_MAX * 2 <= ARGS_MAX);
