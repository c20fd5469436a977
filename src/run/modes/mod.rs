//! What the modes that don't write into the target itself do around the load.

pub(super) mod swap;
