//! The inner rooms that this package's own tests look into. No part of the interface.

#[cfg(feature = "cli")]
pub use crate::cli::{Command, command, parse, parse_layers};
pub use crate::format::namespace::MarkNamespace;
pub use crate::format::{aufs, origin, recorded};
pub use crate::layer::fd_cache::release_all;
pub use crate::layer::mode_record::ModeRecord;
pub use crate::layer::store::{Disk, Store};
pub use crate::layer::waiting::Whereabouts;
pub use crate::layer::{claim, copy_data, marker};
pub use crate::owner::{acl, capability, idmap};
pub use crate::sys::creds::in_initial_user_namespace;
pub use crate::sys::dirent::RawEntry;
pub use crate::sys::file::read_at;
pub use crate::sys::mount::{FuseMountOptions, MountError, Mountpoint, mount_fuse};
pub use crate::sys::{At, Error, Result};
