//! What moves keys into servers and out of them.

mod kind;
pub mod rdb;
