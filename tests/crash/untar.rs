use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::rig::Killed;
use super::{can_run, report, rounds};

/// What the archive holds: many small files and a few big ones, in some directories.
fn contents() -> BTreeMap<PathBuf, Vec<u8>> {
    let content = |n: usize| {
        let len = if n.is_multiple_of(97) { 700_000 } else { n * 37 % 9000 };
        format!("file {n} ").into_bytes().into_iter().cycle().take(len).collect()
    };
    (0..1500).map(|n| (PathBuf::from(format!("tree/d{}/e{}/f{n}", n % 5, n % 11)), content(n))).collect()
}

/// What the lower holds under every third name, and under some that the archive lacks.
fn old(path: &Path) -> Vec<u8> {
    format!("old {}", path.display()).into_bytes()
}

fn put(root: &Path, path: &Path, content: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[test]
fn an_archive_is_unpacked_up_to_where_the_daemon_died() {
    if !can_run(&["tar", "bash"]) {
        return;
    }
    let contents = contents();
    let in_lower: Vec<&PathBuf> = contents.keys().step_by(3).collect();
    let mut rig = Killed::new(|lower| {
        in_lower.iter().for_each(|path| put(lower, path, &old(path)));
        put(lower, Path::new("tree/d0/only here"), b"kept");
    });
    contents.iter().for_each(|(path, content)| put(&rig.beside().join("packed"), path, content));
    rig.ask("tar -C $BESIDE/packed -cf $BESIDE/archive.tar tree");
    let (rounds, mut busy, mut cut) = (rounds(4, 60), 0, 0);
    for _ in 0..rounds {
        busy += u32::from(rig.kill_under("tar -xf $BESIDE/archive.tar", 5, 400));
        cut += check(&rig, &contents, false);
        // Half-unpacked trees are removed as any other, and what the lowers have is deleted for the next round to restore.
        if rig.below(2) == 0 {
            rig.kill_under("rm -rf tree", 5, 200);
            check(&rig, &contents, true);
        }
    }
    rig.ask("tar -xf $BESIDE/archive.tar && diff -r --exclude='only here' tree $BESIDE/packed/tree");
    report(rounds, &format!("{busy} of them while unpacking, {cut} files cut short"));
    rig.finish();
}

/// Each file is as the lower has it, as the archive has it, or a beginning of the latter; returns how many of these. A
/// removal may leave anything out.
fn check(rig: &Killed, contents: &BTreeMap<PathBuf, Vec<u8>>, removing: bool) -> usize {
    let mut cut = 0;
    let mut pending = vec![PathBuf::from("tree")];
    while let Some(path) = pending.pop() {
        let full = rig.root().join(&path);
        let Ok(meta) = std::fs::symlink_metadata(&full) else {
            assert!(removing || path.as_os_str() == "tree", "{path:?} is listed but not there");
            continue;
        };
        if meta.is_dir() {
            pending
                .extend(std::fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            continue;
        }
        assert!(meta.is_file(), "{path:?} is a {:?}", meta.file_type());
        let found = std::fs::read(&full).unwrap();
        assert_eq!(found.len() as u64, meta.len(), "{path:?}");
        if path.ends_with("only here") {
            assert_eq!(found, b"kept");
            continue;
        }
        let new = contents.get(&path).unwrap_or_else(|| panic!("{path:?} comes from nowhere"));
        if found != old(&path) {
            assert!(new.starts_with(&found), "{path:?} is neither old nor a part of the new");
            cut += usize::from(found.len() < new.len());
        }
    }
    cut
}
