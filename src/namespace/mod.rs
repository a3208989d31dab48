//! The union as one namespace: which entries it shows, and the nodes the kernel knows.

pub mod changes;
pub mod cookie;
pub mod held;
pub mod ino;
mod links;
pub mod locks;
pub mod node;
pub mod nodes;
pub mod open_files;
pub mod refs;
pub mod snapshot;
pub mod walk;
