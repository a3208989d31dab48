mod attr;
mod aufs;
mod concurrency;
mod copy_data;
mod copy_up;
mod create;
mod descriptors;
mod file;
mod flags;
#[allow(dead_code, reason = "shared with the fault tests")]
mod harness;
mod identity;
mod idmap;
mod index;
mod lacking;
mod layer;
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

#[path = "../faults/store.rs"]
#[allow(dead_code, reason = "shared with the fault tests")]
mod store;
