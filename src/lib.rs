//! unionfuse: overlay semantics in userspace.
//!
//! The crate is a library first. [`Union`] is the whole engine and works on directories without any mount, so it can be embedded and
//! tested as it is:
//!
//! ```
//! use unionfuse::types::{Name, NodeId};
//! use unionfuse::{Union, UnionConfig};
//!
//! let union = Union::open(&UnionConfig::new(["/usr", "/etc"]), None)?;
//! let found = union.lookup(NodeId::ROOT, Name::new("bin".as_ref())?)?;
//! if let Some(entry) = found {
//!     println!("bin has number {} and mode {:o}", entry.attr.node.0, entry.attr.perm);
//!     // Until the entry is dropped, its number finds the node.
//!     let target = union.getattr(entry.node.id())?;
//!     assert_eq!(target.kind, entry.attr.kind);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Mount`] puts it behind `/dev/fuse`, where programs see it; the `unionfuse` binary is a thin command line over both. `examples/` has
//! three programs that use them.
//!
//! Data flows one way: [`format`](mod@format), [`config`] -> [`layer`] -> [`namespace`] -> [`ops`] -> [`fuse`] -> [`mount`] -> [`daemon`] -> [`cli`]; every system
//! call goes through [`sys`].

pub mod cli;
pub mod config;
pub mod daemon;
pub mod error;
pub mod format;
pub mod fuse;
pub mod layer;
pub mod mount;
pub mod namespace;
pub mod ops;
pub mod owner;
pub mod sys;
pub mod types;

/// The target of log records that are no warnings, and yet to be told to users who have not asked for more.
pub const NOTICE: &str = "unionfuse::notice";

pub use config::{MountConfig, UnionConfig};
pub use error::{Error, Result, SetupError};
pub use mount::Mount;
pub use ops::Union;
