//! Scripts for the commands on sorted sets.
pub(crate) const SCRIPT: &[(&str, &str)] = &[];
