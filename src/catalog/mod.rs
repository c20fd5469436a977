//! What a server knows of its relations.

pub mod desc;
