//! The client library: against a server, and against a fake that does what servers should not.

#[path = "../harness/mod.rs"]
mod harness;

mod bounds;
mod fake;
mod faults;
mod following;
mod once;
mod operations;
