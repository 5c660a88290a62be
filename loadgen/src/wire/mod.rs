//! What goes over the wire, apart from the requests that are measured: replies cut from the bytes that
//! came, what is said when a connection opens, and who owns which slot. No I/O.

pub(crate) mod cluster;
pub(crate) mod greeting;
pub(crate) mod resp;
