//! Looking a name up in the layers of a directory.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::aufs;
use crate::format::marks::Marks;
use crate::format::namespace::MarkNamespace;
use crate::format::redirect::Redirect;
use crate::format::resolve::{self, Finding, Shown};
use crate::layer::dir::{DirOpener, RealDir};
use crate::layer::marker;
use crate::layer::store::Store;
use crate::sys::At;
use crate::types::{Kind, RealId, Stat};

/// The directories of the layers that a directory of the union is made of.
#[derive(Debug, Clone)]
pub struct DirStack {
    /// In the upperdir.
    pub upper: Option<Arc<RealDir>>,
    /// In the lowerdirs, top-most first.
    pub lowers: Arc<[Arc<RealDir>]>,
}

impl DirStack {
    /// Whether more than one layer may hold entries.
    pub fn is_merged(&self) -> bool {
        self.lowers.len() + usize::from(self.upper.is_some()) > 1
    }

    /// The only layer's directory, when there is just one.
    pub fn sole(&self) -> Option<&Arc<RealDir>> {
        match (&self.upper, &*self.lowers) {
            (Some(upper), []) => Some(upper),
            (None, [lower]) => Some(lower),
            _ => None,
        }
    }

    /// All directories, top-most first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RealDir>> {
        self.upper.iter().chain(self.lowers.iter())
    }
}

/// Something found in one layer.
#[derive(Debug)]
pub struct Found {
    /// The directory it is in.
    pub dir: Arc<RealDir>,
    /// Its name there (another one than in the union below a redirect).
    pub name: Arc<OsStr>,
    /// What it is.
    pub stat: Stat,
    /// The marks on it; read of directories, and of upper files where an origin may be recorded.
    pub marks: Marks,
}

impl Found {
    /// The found directory as one to look further in.
    pub fn open_dir(&self) -> Arc<RealDir> {
        let dir = RealDir::child(&self.dir, self.name.clone(), self.stat.ino);
        dir.note_marks(&self.marks);
        dir.note_device(self.stat.dev);
        dir
    }
}

/// What the layers hold under a name.
#[derive(Debug, Default)]
pub struct Located {
    /// Whether the upperdir has a whiteout there.
    pub whiteout: bool,
    /// What the upperdir contributes to the union.
    pub upper: Option<Found>,
    /// What lowerdirs contribute, top-most first: several directories, or one file (only without `upper`).
    pub lowers: Vec<Found>,
}

impl Located {
    /// The entry the union shows: the top-most contribution.
    pub fn shown(&self) -> Option<&Found> {
        self.upper.as_ref().or_else(|| self.lowers.first())
    }

    /// Whether nothing is shown.
    pub fn is_absent(&self) -> bool {
        self.shown().is_none()
    }
}

/// What to look at in the upperdir, beside what the union shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origins {
    /// The directory holds entries with a recorded origin: read the marks of files too.
    Read,
    /// No entry has one.
    None,
}

/// Walks layers.
#[derive(Debug, Clone, Copy)]
pub struct Walker<'a> {
    /// Where the layers are.
    pub store: &'a dyn Store,
    /// Opens their directories.
    pub dirs: &'a DirOpener,
    /// The roots of the lowerdirs, from which absolute redirects start.
    pub roots: &'a Arc<[Arc<RealDir>]>,
    /// Where the layers' marks are.
    pub marks: MarkNamespace,
    /// The workdir, which is nowhere to be seen.
    pub workdir: Option<RealId>,
}

/// Where the layers below a redirect are looked in: a name in the parent, or a path from their roots.
#[derive(Debug, Clone)]
enum Target {
    Name(Arc<OsStr>),
    Path(Vec<Arc<OsStr>>),
}

/// Whether a file may have a size and no data: it has no blocks, or just one, which may be that of its attributes, in a
/// directory that holds files which were copied up (the kernel marks it `impure` for each).
fn may_lack_data(found: &Found) -> bool {
    let Stat { blocks, blksize, .. } = found.stat;
    blocks == 0 || (found.dir.is_impure() && blocks * 512 <= u64::from(blksize))
}

impl Walker<'_> {
    /// Finds what the union shows under `name` in `parent`. `among` says which lowerdirs may have the name, where that is known (ascending
    /// positions in the parent's stack).
    ///
    /// # Errors
    /// Those of the layers; `EINVAL` for a broken redirect.
    pub fn locate(
        &self,
        parent: &DirStack,
        name: &Arc<OsStr>,
        origins: Origins,
        mut among: Option<&[u16]>,
    ) -> Result<Located> {
        let mut located = Located::default();
        let mut shown = Shown::Nothing;
        let mut target = Target::Name(name.clone());
        let mut below = &parent.lowers;
        if let Some(upper) = &parent.upper {
            let (finding, found) = self.inspect(upper, name, origins, !below.is_empty())?;
            located.whiteout = finding == Finding::Whiteout;
            let (next, verdict) = resolve::take(shown, finding);
            shown = next;
            if let (true, Some(found)) = (verdict.shows, found) {
                if let Some(redirect) = &found.marks.redirect {
                    target = target.redirected(redirect)?;
                    among = None;
                }
                located.upper = Some(found);
            }
            if verdict.last {
                return Ok(located);
            }
        }
        if matches!(target, Target::Path(_)) {
            below = self.roots;
        }
        let mut position = 0;
        while let Some(dir) = below.get(position) {
            position += 1;
            if among.is_some_and(|among| !among.iter().any(|&one| usize::from(one) + 1 == position)) {
                continue;
            }
            let Step { finding, found, stop, next } = self.look(dir, &target, position < below.len())?;
            let (after, verdict) = resolve::take(shown, finding);
            shown = after;
            if let (true, Some(found)) = (verdict.shows, found) {
                located.lowers.push(found);
            }
            if verdict.last || stop {
                break;
            }
            if let Some(next) = next {
                if matches!(next, Target::Path(_)) && !Arc::ptr_eq(below, self.roots) {
                    position = usize::from(dir.layer().index);
                    below = self.roots;
                }
                target = next;
                among = None;
            }
        }
        Ok(located)
    }

    fn look(&self, dir: &Arc<RealDir>, target: &Target, more: bool) -> Result<Step> {
        match target {
            Target::Name(name) => {
                let (finding, found) = self.inspect(dir, name, Origins::None, more)?;
                let redirect = found.as_ref().and_then(|found| found.marks.redirect.as_deref());
                let next = redirect.map(|redirect| target.redirected(redirect)).transpose()?;
                Ok(Step { finding, found, stop: false, next })
            }
            Target::Path(path) => self.look_by_path(dir, path),
        }
    }

    /// Follows an absolute redirect within one layer, from its root.
    fn look_by_path(&self, root: &Arc<RealDir>, path: &[Arc<OsStr>]) -> Result<Step> {
        let mut dir = root.clone();
        let mut next = path.to_vec();
        let mut redirected = false;
        let mut stop = false;
        for (depth, name) in path.iter().enumerate() {
            let remaining = path.len() - depth - 1;
            let (finding, found) = self.inspect(&dir, name, Origins::None, true)?;
            if let Some(redirect) = found.as_ref().and_then(|found| found.marks.redirect.as_deref()) {
                let at = next.len() - remaining - 1;
                redirect_component(&mut next, at, redirect)?;
                redirected = true;
            }
            if remaining == 0 {
                let next = redirected.then_some(Target::Path(next));
                return Ok(Step { finding, found, stop, next });
            }
            match (finding, found) {
                (Finding::Directory { opaque }, Some(found)) => {
                    dir = found.open_dir();
                    stop |= opaque;
                }
                (Finding::Absent, _) => {
                    let next = redirected.then_some(Target::Path(next));
                    return Ok(Step { finding: Finding::Absent, found: None, stop, next });
                }
                _ => {
                    return Ok(Step { finding: Finding::Absent, found: None, stop: true, next: None });
                }
            }
        }
        Ok(Step { finding: Finding::Absent, found: None, stop: true, next: None })
    }

    /// What one layer holds under a name. `more` says that layers further down may matter.
    fn inspect(
        &self,
        dir: &Arc<RealDir>,
        name: &Arc<OsStr>,
        origins: Origins,
        more: bool,
    ) -> Result<Inspected> {
        if aufs::is_mark(name) && dir.reads_aufs_marks() {
            return Ok((Finding::Absent, None));
        }
        let covered = dir.layer().covered(dir.ino(), name);
        let fd = match &covered {
            Some(fd) => fd.clone(),
            None => self.dirs.open(dir)?,
        };
        let at = match &covered {
            Some(_) => At::this(fd.as_fd()),
            None => At::new(fd.as_fd(), name),
        };
        loop {
            let Some(stat) = self.stat(at)? else {
                let hidden = more && self.has_aufs_whiteout(dir, name)?;
                return Ok((if hidden { Finding::Whiteout } else { Finding::Absent }, None));
            };
            if stat.is_whiteout_device() {
                return Ok((Finding::Whiteout, None));
            }
            if stat.is_dir() && self.workdir == Some(stat.real_id()) {
                return Ok((Finding::Absent, None));
            }
            let found = Found { dir: dir.clone(), name: name.clone(), stat, marks: Marks::default() };
            let inspected = match stat.is_dir() {
                true => self.inspect_dir(at, found, more)?,
                false => self.inspect_file(at, found, origins)?,
            };
            if let Some(inspected) = inspected {
                return Ok(inspected);
            }
        }
    }

    /// `None` when something else has come to the name meanwhile.
    fn inspect_dir(&self, at: At<'_>, mut found: Found, more: bool) -> Result<Option<Inspected>> {
        if !self.read_marks(at, &mut found)? {
            return Ok(None);
        }
        let (dir, name) = (&found.dir, &found.name);
        let opaque = found.marks.opaque
            || (more && (self.has_aufs_whiteout(dir, name)? || self.has_aufs_opaque(&found, at)?));
        Ok(Some((Finding::Directory { opaque }, Some(found))))
    }

    /// `None` when something else has come to the name meanwhile.
    fn inspect_file(&self, at: At<'_>, mut found: Found, origins: Origins) -> Result<Option<Inspected>> {
        let stat = found.stat;
        let may_be_whiteout = found.dir.has_xattr_whiteouts() && stat.kind() == Kind::File && stat.size == 0;
        let may_be_metacopy = stat.kind() == Kind::File && stat.size > 0 && may_lack_data(&found);
        let readable = !matches!(stat.kind(), Kind::Symlink) || origins == Origins::Read;
        if readable
            && (origins == Origins::Read || may_be_whiteout || may_be_metacopy)
            && !self.read_marks(at, &mut found)?
        {
            return Ok(None);
        }
        if may_be_whiteout && found.marks.whiteout {
            return Ok(Some((Finding::Whiteout, None)));
        }
        if found.marks.metacopy && stat.kind() == Kind::File {
            log::error!(
                "{:?}: its data is in another file (metacopy), which unionfuse does not follow",
                found.name
            );
            return Err(Error::refused(Errno::IO, "metacopy file"));
        }
        Ok(Some((Finding::File, Some(found))))
    }

    /// Reads the marks of what was found; `false` when something else of the upperdir has its name now, whose marks they may
    /// be: a directory must not be merged by the marks of another one.
    fn read_marks(&self, at: At<'_>, found: &mut Found) -> Result<bool> {
        let in_upper = found.dir.layer().is_upper();
        found.marks = match marker::read(self.store, self.marks, at) {
            Err(error) if in_upper && error.errno() == Errno::NOENT => return Ok(false),
            other => other?,
        };
        if !in_upper {
            return Ok(true);
        }
        Ok(self.stat(at)?.is_some_and(|now| now.real_id() == found.stat.real_id()))
    }

    fn stat(&self, at: At<'_>) -> Result<Option<Stat>> {
        match self.store.stat(at) {
            // A name too long for this layer's filesystem is not in it.
            Err(error) if error.errno() == Errno::NAMETOOLONG && at.name.len() <= 255 => Ok(None),
            other => Ok(other?),
        }
    }

    fn has_aufs_whiteout(&self, dir: &RealDir, name: &OsStr) -> Result<bool> {
        if !dir.may_have_aufs_marks() {
            return Ok(false);
        }
        let Some(mark) = aufs::whiteout(name) else {
            return Ok(false);
        };
        let fd = self.dirs.open(dir)?;
        Ok(self.stat(At::new(fd.as_fd(), &mark))?.is_some())
    }

    fn has_aufs_opaque(&self, found: &Found, at: At<'_>) -> Result<bool> {
        if found.dir.layer().is_upper() || found.marks.plain_names {
            return Ok(false);
        }
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
        let dir = self.store.open(at, flags, 0)?;
        Ok(self.stat(At::new(dir.as_fd(), OsStr::new(aufs::OPAQUE)))?.is_some())
    }
}

/// What one layer has, and what of it may be shown.
type Inspected = (Finding, Option<Found>);

struct Step {
    finding: Finding,
    found: Option<Found>,
    /// Layers further down do not matter, whatever the finding.
    stop: bool,
    /// Where the layers further down are looked in, when that changes.
    next: Option<Target>,
}

impl Target {
    fn redirected(&self, redirect: &[u8]) -> Result<Self> {
        match (Redirect::parse(redirect)?, self) {
            (Redirect::Absolute(path), _) => Ok(Self::Path(path)),
            (Redirect::Sibling(name), Self::Name(_)) => Ok(Self::Name(name)),
            (Redirect::Sibling(name), Self::Path(path)) => {
                let mut path = path.clone();
                path.pop();
                path.push(name);
                Ok(Self::Path(path))
            }
        }
    }
}

fn redirect_component(path: &mut Vec<Arc<OsStr>>, at: usize, redirect: &[u8]) -> Result<()> {
    match Redirect::parse(redirect)? {
        Redirect::Sibling(name) => path[at] = name,
        Redirect::Absolute(prefix) => {
            let rest = path.split_off(at + 1);
            *path = prefix;
            path.extend(rest);
        }
    }
    Ok(())
}
