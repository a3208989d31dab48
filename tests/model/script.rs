//! Random scripts, and how each step is done by the engine and by the model.

use proptest::prelude::*;
use proptest::sample::select;
use rustix::io::Errno;
use unionfuse::types::{Attr, Kind, NewTime, NodeId, RenameMode, SetAttr, Time};

use super::name::{Name, name};
use super::seen::content;
use super::tree::{File, Id, Tree};
use crate::kit::bench::{Answer, Bench, ROOT, done, errno, name as as_name};

/// One step. Files that are `Hold`, by number, are used by their node from then on, whatever happens to their names.
#[derive(Debug, Clone)]
pub enum Op {
    Create(Name, u32),
    Mkdir(Name, u32),
    Symlink(Name, &'static str),
    Fifo(Name),
    Link(Name, Name),
    Unlink(Name),
    Rmdir(Name),
    Rename(Name, Name),
    RenameNoReplace(Name, Name),
    Exchange(Name, Name),
    Write(Name, usize, u8, usize),
    Truncate(Name, usize),
    Chmod(Name, u32),
    Chown(Name, u32, u32),
    SetTime(Name, i64),
    SetXattr(Name, &'static str, u8),
    RemoveXattr(Name, &'static str),
    Read(Name),
    List(Name),
    Hold(usize, Name),
    HeldStat(usize),
    HeldWrite(usize, usize, u8, usize),
    HeldTruncate(usize, usize),
    HeldChmod(usize, u32),
    HeldLink(usize, Name),
    HeldCreate(usize, &'static str),
    ForgetAll,
    Reopen,
}

const XATTRS: [&str; 4] = ["user.one", "user.layer", "trusted.two", "trusted.overlay.mine"];

/// How many files can be held.
pub const HELD: usize = 3;

fn removal() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => name().prop_map(Op::Unlink),
        3 => name().prop_map(Op::Rmdir),
        7 => (name(), name()).prop_map(|(from, to)| Op::Rename(from, to)),
        1 => (name(), name()).prop_map(|(from, to)| Op::RenameNoReplace(from, to)),
        2 => (name(), name()).prop_map(|(from, to)| Op::Exchange(from, to)),
    ]
}

fn making() -> impl Strategy<Value = Op> {
    let perm = 0..0o1000_u32;
    prop_oneof![
        3 => (name(), perm.clone()).prop_map(|(name, perm)| Op::Create(name, perm)),
        3 => (name(), perm).prop_map(|(name, perm)| Op::Mkdir(name, perm)),
        1 => name().prop_map(|name| Op::Symlink(name, "elsewhere")),
        1 => name().prop_map(Op::Fifo),
        4 => (name(), name()).prop_map(|(from, to)| Op::Link(from, to)),
    ]
}

fn change() -> impl Strategy<Value = Op> {
    let offset = prop_oneof![4 => 0..30_usize, 1 => 65_000..75_000_usize];
    let xattr = || select(&XATTRS[..]);
    prop_oneof![
        4 => (name(), offset.clone(), b'A'..=b'Z', 1..9_usize).prop_map(|(n, at, byte, len)| Op::Write(n, at, byte, len)),
        2 => (name(), offset).prop_map(|(name, size)| Op::Truncate(name, size)),
        2 => (name(), 0..0o1000_u32).prop_map(|(name, perm)| Op::Chmod(name, perm)),
        1 => (name(), 0..3_u32, 0..3_u32).prop_map(|(name, uid, gid)| Op::Chown(name, uid, gid)),
        1 => (name(), 0..1000_i64).prop_map(|(name, time)| Op::SetTime(name, time)),
        2 => (name(), xattr(), 0..9_u8).prop_map(|(name, xattr, value)| Op::SetXattr(name, xattr, value)),
        1 => (name(), xattr()).prop_map(|(name, xattr)| Op::RemoveXattr(name, xattr)),
    ]
}

fn held() -> impl Strategy<Value = Op> {
    let slot = || 0..HELD;
    prop_oneof![
        4 => (slot(), name()).prop_map(|(slot, name)| Op::Hold(slot, name)),
        2 => slot().prop_map(Op::HeldStat),
        2 => (slot(), 0..30_usize, b'0'..=b'9', 1..9_usize).prop_map(|(n, at, byte, len)| Op::HeldWrite(n, at, byte, len)),
        1 => (slot(), 0..30_usize).prop_map(|(slot, size)| Op::HeldTruncate(slot, size)),
        1 => (slot(), 0..0o1000_u32).prop_map(|(slot, perm)| Op::HeldChmod(slot, perm)),
        1 => (slot(), name()).prop_map(|(slot, name)| Op::HeldLink(slot, name)),
        1 => (slot(), select(&["x", "y", "s"][..])).prop_map(|(slot, name)| Op::HeldCreate(slot, name)),
    ]
}

/// What threads can do at the same time.
pub fn concurrent_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => removal(),
        5 => making(),
        5 => change(),
        2 => name().prop_map(Op::Read),
        2 => name().prop_map(Op::List),
    ]
}

pub fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        22 => concurrent_op(),
        5 => held(),
        1 => Just(Op::ForgetAll),
        1 => Just(Op::Reopen),
    ]
}

/// A file that is held, as the engine and as the model know it.
pub type Held = (NodeId, Id);

fn set(change: SetAttr) -> impl Fn(&Bench, NodeId) -> Answer<Attr> {
    move |bench, node| done(bench.raw().setattr(ROOT, node, change))
}

fn chmod(perm: u32) -> impl Fn(&Bench, NodeId) -> Answer<Attr> {
    move |bench, node| {
        // The kernel refuses this before it asks a filesystem.
        if errno(bench.raw().getattr(node))?.kind == Kind::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        set(SetAttr { perm: Some(perm), ..SetAttr::default() })(bench, node)
    }
}

fn truncate(size: usize) -> impl Fn(&Bench, NodeId) -> Answer<Attr> {
    set(SetAttr { size: Some(size as u64), ..SetAttr::default() })
}

fn write(bench: &Bench, node: NodeId, at: usize, byte: u8, len: usize) -> Answer<()> {
    bench.write_node(node, at as u64, vec![byte; len])
}

/// The kernel keeps the user's attributes to files and directories before it asks a filesystem (xattr(7)).
pub fn may_have(kind: Kind, xattr: &str) -> Answer<()> {
    let refused = xattr.starts_with("user.") && !matches!(kind, Kind::File | Kind::Directory);
    if refused { Err(Errno::PERM) } else { Ok(()) }
}

fn create_in(bench: &Bench, dir: NodeId, name: &str) -> Answer<()> {
    // Nobody uses it by this reference; the next lookup finds it again.
    errno(bench.raw().mknod(ROOT, dir, as_name(name), Kind::File, 0o600, 0)).map(drop)
}

impl Op {
    /// Does the step on the engine. Not for `Hold`, `ForgetAll` and `Reopen`, which are the runner's.
    pub fn on_engine(&self, bench: &Bench, held: &[Option<Held>; HELD]) -> Answer<()> {
        let node = |slot: usize| held[slot].map(|(node, _)| node);
        match *self {
            Op::Create(name, perm) => bench.mknod(ROOT, name, Kind::File, perm, 0).map(drop),
            Op::Mkdir(name, perm) => bench.mkdir_as(ROOT, name, perm).map(drop),
            Op::Symlink(name, target) => bench.symlink(name, target).map(drop),
            Op::Fifo(name) => bench.mknod(ROOT, name, Kind::Fifo, 0o644, 0).map(drop),
            Op::Link(from, to) => bench.link(from, to).map(drop),
            Op::Unlink(name) => bench.unlink(name),
            Op::Rmdir(name) => bench.rmdir(name),
            Op::Rename(from, to) => bench.rename(from, to),
            Op::RenameNoReplace(from, to) => bench.rename_with(from, to, RenameMode::NoReplace),
            Op::Exchange(from, to) => bench.rename_with(from, to, RenameMode::Exchange),
            Op::Write(name, at, byte, len) => write(bench, bench.node(name)?, at, byte, len),
            Op::Truncate(name, size) => truncate(size)(bench, bench.node(name)?).map(drop),
            Op::Chmod(name, perm) => chmod(perm)(bench, bench.node(name)?).map(drop),
            Op::Chown(name, uid, gid) => {
                let change = SetAttr { uid: Some(uid), gid: Some(gid), ..SetAttr::default() };
                bench.setattr(name, change).map(drop)
            }
            Op::SetTime(name, sec) => {
                let mtime = Some(NewTime::At(Time { sec, nsec: 0 }));
                bench.setattr(name, SetAttr { mtime, ..SetAttr::default() }).map(drop)
            }
            Op::SetXattr(name, xattr, value) => {
                may_have(bench.stat(name)?.kind, xattr)?;
                bench.set_xattr(name, xattr, [value])
            }
            Op::RemoveXattr(name, xattr) => {
                may_have(bench.stat(name)?.kind, xattr)?;
                bench.remove_xattr(name, xattr)
            }
            Op::Read(name) => content(bench, &bench.stat(name)?).map(drop),
            Op::List(name) => bench.list(name).map(drop),
            Op::HeldStat(slot) => {
                node(slot).map_or(Ok(()), |node| errno(bench.raw().getattr(node)).map(drop))
            }
            Op::HeldWrite(slot, at, byte, len) => {
                node(slot).map_or(Ok(()), |node| write(bench, node, at, byte, len))
            }
            Op::HeldTruncate(slot, size) => {
                node(slot).map_or(Ok(()), |node| truncate(size)(bench, node).map(drop))
            }
            Op::HeldChmod(slot, perm) => node(slot).map_or(Ok(()), |node| chmod(perm)(bench, node).map(drop)),
            Op::HeldLink(slot, name) => {
                node(slot).map_or(Ok(()), |node| bench.link_node(node, name).map(drop))
            }
            Op::HeldCreate(slot, name) => node(slot).map_or(Ok(()), |node| create_in(bench, node, name)),
            Op::Hold(..) | Op::ForgetAll | Op::Reopen => Ok(()),
        }
    }

    /// Does the step on the model.
    pub fn on_model(&self, tree: &mut Tree, held: &[Option<Held>; HELD]) -> Answer<()> {
        let file = |slot: usize| held[slot].map(|(_, id)| id);
        match *self {
            Op::Create(name, perm) => tree.make(name, File::new(Kind::File, perm)).map(drop),
            Op::Mkdir(name, perm) => tree.make(name, File::new(Kind::Directory, perm)).map(drop),
            Op::Symlink(name, target) => {
                let link = File { data: target.into(), ..File::new(Kind::Symlink, 0o777) };
                tree.make(name, link).map(drop)
            }
            Op::Fifo(name) => tree.make(name, File::new(Kind::Fifo, 0o644)).map(drop),
            Op::Link(from, to) => tree.link(from, to),
            Op::Unlink(name) => tree.unlink(name),
            Op::Rmdir(name) => tree.rmdir(name),
            Op::Rename(from, to) => tree.rename(from, to, RenameMode::Replace),
            Op::RenameNoReplace(from, to) => tree.rename(from, to, RenameMode::NoReplace),
            Op::Exchange(from, to) => tree.rename(from, to, RenameMode::Exchange),
            Op::Write(name, at, byte, len) => tree.write(tree.find(name)?, at, &vec![byte; len]),
            Op::Truncate(name, size) => tree.truncate(tree.find(name)?, size),
            Op::Chmod(name, perm) => tree.chmod(tree.find(name)?, perm),
            Op::Chown(name, uid, gid) => tree.find(name).map(|id| tree.file_mut(id).owner = (uid, gid)),
            Op::SetTime(name, sec) => tree.find(name).map(|id| tree.file_mut(id).modified = Some(sec)),
            Op::SetXattr(name, xattr, value) => tree.set_attribute(tree.find(name)?, xattr, vec![value]),
            Op::RemoveXattr(name, xattr) => tree.remove_attribute(tree.find(name)?, xattr),
            Op::Read(name) => tree.find(name).map(drop),
            Op::List(name) => match tree.file(tree.find(name)?).kind {
                Kind::Directory => Ok(()),
                _ => Err(Errno::NOTDIR),
            },
            Op::HeldWrite(slot, at, byte, len) => {
                file(slot).map_or(Ok(()), |id| tree.write(id, at, &vec![byte; len]))
            }
            Op::HeldTruncate(slot, size) => file(slot).map_or(Ok(()), |id| tree.truncate(id, size)),
            Op::HeldChmod(slot, perm) => file(slot).map_or(Ok(()), |id| tree.chmod(id, perm)),
            Op::HeldLink(slot, name) => file(slot).map_or(Ok(()), |id| tree.link_file(id, name)),
            Op::HeldCreate(slot, name) => file(slot).map_or(Ok(()), |id| {
                tree.make_in(id, name.as_bytes(), File::new(Kind::File, 0o600)).map(drop)
            }),
            Op::HeldStat(_) | Op::Hold(..) | Op::ForgetAll | Op::Reopen => Ok(()),
        }
    }
}
