//! Engine tests: unions of temporary directories, no mount. One file per operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod attr;
mod aufs;
mod concurrency;
mod copy_data;
mod copy_up;
mod create;
mod descriptors;
mod file;
mod flags;
mod identity;
mod idmap;
mod index;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;
mod lacking;
mod link;
mod lookup;
mod modes;
mod no_space;
mod opaque;
mod overtaken;
mod read_only;
mod readdir;
mod redirect;
mod remove;
mod rename;
mod rename_dir;
mod replaced;
mod setup;
mod tree_copy_up;
mod unlinked;
mod view;
mod whiteout;
mod workdir;
mod writeback;
mod xattr;
