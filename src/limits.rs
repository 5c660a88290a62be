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
/// Logical databases.
pub const DATABASES: u8 = 16;
/// Most shards of one server.
pub const SHARDS_MAX: u16 = 1024;
/// Most entries that one `SCAN` visits, whatever its `COUNT` asks for.
pub const SCAN_COUNT_MAX: usize = 10_000;

const _: () = assert!(BULK_BYTES_MAX_BEFORE_AUTH < BULK_BYTES_MAX);
const _: () = assert!(ARGS_MAX_BEFORE_AUTH < ARGS_MAX);
const _: () = assert!(SHARDS_MAX <= crate::types::SLOT_COUNT);
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

/// Unparsed input beyond which a connection that can't go on is no longer read from.
pub const STALLED_INPUT_BYTES_MAX: usize = 256 * 1024;
/// Output waiting for a client that does not read, beyond which its requests are no longer run.
pub const PENDING_OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Microseconds that the requests of one client run in one go before others have their turn.
pub const SLICE_US: u64 = 1000;
/// Replies of one client that other cores owe, with those between them, beyond which its requests wait.
pub const OWED_REPLIES_MAX: usize = 1024;
/// Bytes of requests that one client has left to other cores, beyond which its further ones wait.
pub const LEFT_BYTES_MAX: usize = 1024 * 1024;
/// Output waiting for a client that monitors and does not read, beyond which it is closed.
pub const MONITOR_OUTPUT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Capacity that an idle connection's buffers keep.
pub const IDLE_BUFFER_BYTES_MAX: usize = 512;

// One shard.

/// Expired keys removed in one step.
pub const EXPIRE_BUDGET: usize = 200;
/// Keys evicted in one step while a shard is over its limit and nobody writes.
pub const EVICT_BUDGET: usize = 64;
/// Ticks in a second.
pub const TICKS_PER_SECOND: u64 = 10;
