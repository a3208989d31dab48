//! What holds for any bytes at all. Each function is fed by a fuzzer (tests/fuzz) and by a seeded generator (`cargo test`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use unionfuse::testing::MarkNamespace;
use unionfuse::testing::ModeRecord;
use unionfuse::testing::claim;
use unionfuse::testing::idmap::{IdMap, IdRanges};
use unionfuse::testing::recorded::Recorded;
use unionfuse::testing::{Command, parse, parse_layers};
use unionfuse::testing::{acl, capability};
use unionfuse::testing::{aufs, origin};
use unionfuse::types::FileHandle;

/// Every form of the command line either mounts something sensible or says why not.
pub fn command_line(data: &[u8]) {
    let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let words = |words: &[&[u8]]| words.iter().map(|bytes| word(bytes)).collect::<Vec<_>>();
    let whole: Vec<OsString> = data.split(|&byte| byte == 0).map(word).collect();
    for args in [
        whole,
        words(&[b"unionfuse", b"-o", data, b"mnt"]),
        words(&[b"unionfuse", b"source", b"mnt", b"-o", data]),
        words(&[b"mount.unionfuse", b"source", b"mnt", b"-o", data]),
        words(&[b"fuse-overlayfs", b"-o", data, b"-o", b"lowerdir=/l", b"mnt"]),
        words(&[b"unionfuse", b"mount", b"--lower", data, b"mnt"]),
        words(&[b"unionfuse", b"mount", b"-o", data, b"--lower", b"/l", b"mnt"]),
    ] {
        match parse(&args) {
            Ok(invocation) => {
                if let Command::Mount(config) = invocation.command {
                    let union = &config.union;
                    assert!(!union.lowers.is_empty() && union.lowers.iter().all(is_named), "{args:?}");
                    assert!(union.upper.is_some() || config.flags.read_only, "{args:?}");
                    assert!(union.upper.is_some() || union.work.is_none(), "{args:?}");
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn is_named(path: &impl AsRef<Path>) -> bool {
    !path.as_ref().as_os_str().is_empty()
}

/// A layer list that is understood survives being written down and read again.
pub fn layer_list(data: &[u8]) {
    let Ok(layers) = parse_layers(data) else { return };
    assert!(!layers.is_empty() && layers.iter().all(is_named));
    let mut written = Vec::new();
    for layer in &layers {
        if !written.is_empty() {
            written.push(b':');
        }
        for &byte in layer.as_os_str().as_bytes() {
            if matches!(byte, b':' | b',' | b'\\' | b'"') {
                written.push(b'\\');
            }
            written.push(byte);
        }
    }
    assert_eq!(parse_layers(&written).as_ref(), Ok(&layers), "{data:?}");
}

/// Id ranges are read without overflow, and what is not understood is refused.
pub fn id_ranges(data: &[u8]) {
    if let Err(error) = IdRanges::parse(data) {
        assert!(!error.to_string().is_empty());
    }
}

/// An origin that is understood is the one that was written; handles of any length are safe to look into.
pub fn origin_value(data: &[u8]) {
    use origin::HandleDecoder::{GenerationIno64, Ino32, Ino64};
    assert!(origin::index_name(data).is_none_or(|name| name.len() == data.len() * 2 && name.len() <= 255));
    for decoder in [Ino32, Ino64, GenerationIno64] {
        let _ = decoder.ino(data);
    }
    let Some(read) = origin::decode(data) else { return };
    let handle = FileHandle { kind: read.kind, bytes: read.bytes.to_vec() };
    let _ = origin::HandleDecoder::calibrate(&handle, 1);
    let written = origin::encode(&handle, &read.uuid).expect("what was decoded has a length that fits");
    assert_eq!(origin::decode(&written), Some(read));
}

/// A user of the union gets back every attribute under the name he gave it, and can neither see nor make a mark.
pub fn xattr_name(data: &[u8]) {
    let name = OsStr::from_bytes(data);
    for namespace in [MarkNamespace::Trusted, MarkNamespace::User] {
        let on_disk = namespace.name_on_disk(name);
        assert!(!namespace.is_mark(&on_disk), "{name:?} becomes the mark {on_disk:?}");
        assert_eq!(namespace.name_in_union(&on_disk).as_deref(), Some(name));
        if let Some(shown) = namespace.name_in_union(name) {
            assert_eq!(*namespace.name_on_disk(&shown), *name);
        }
    }
    if let Some(mark) = aufs::whiteout(name) {
        assert!(mark.len() <= 255 && aufs::is_mark(&mark));
    }
}

/// An ACL or a capability that can be stored is shown as it was set; whatever lies in a layer, nobody is shown who does not exist.
pub fn named_ids(data: &[u8]) {
    let ranges = IdRanges::parse(b"0:100000:10:20:5:3").unwrap();
    let map = IdMap { uids: Some(ranges.clone()), gids: Some(ranges), ..IdMap::default() };
    if let Ok(stored) = acl::to_layer(&map, data) {
        assert_eq!(acl::to_union(&map, stored), data);
    }
    assert!(acl::to_union(&map, data.to_vec()).len() <= data.len());
    if let Some(stored) = capability::to_layer(&map, data) {
        assert!(capability::to_union(&map, stored).is_some());
    }
    capability::to_union(&map, data.to_vec());
}

/// What daemons leave for each other survives being read and written; anything else says nothing.
pub fn notes_of_daemons(data: &[u8]) {
    if let Some(record) = ModeRecord::parse(OsStr::from_bytes(data)) {
        assert_eq!(ModeRecord::parse(&record.name()), Some(record));
        assert_eq!(record.widened & !0o700, record.mode & !0o700);
    }
    if let Some((dirs, stage)) = claim::parse(data) {
        assert_eq!(claim::parse(claim::text(dirs, stage).as_bytes()), Some((dirs, stage)));
    }
}

/// A recorded owner and mode that is understood survives being written, and gives no rights that it does not name.
pub fn recorded_stat(data: &[u8]) {
    if let Some(recorded) = Recorded::parse(data) {
        assert_eq!(Recorded::parse(recorded.to_string().as_bytes()), Some(recorded));
        assert!(recorded.perm <= 0o7777);
    }
}
