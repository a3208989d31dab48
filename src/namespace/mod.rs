//! The union as one namespace: which entries it shows, and the nodes the kernel knows.

pub mod changes;
pub mod cookie;
pub mod ino;
pub mod locks;
pub mod node;
pub mod snapshot;
pub mod table;
pub mod walk;
