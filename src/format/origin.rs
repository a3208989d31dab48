//! `overlay.origin`: which lower file an upper file was copied from, in the kernel's format (`struct ovl_fb`,
//! fs/overlayfs/overlayfs.h).

use std::ffi::OsString;
use std::fmt::Write;

use crate::types::FileHandle;

const VERSION: u8 = 0;
const MAGIC: u8 = 0xfb;
const HEADER: usize = 21;
const NAME_MAX: usize = 255;
#[cfg(target_endian = "big")]
const NATIVE_ENDIAN: u8 = 1;
#[cfg(target_endian = "little")]
const NATIVE_ENDIAN: u8 = 0;
const ANY_ENDIAN: u8 = 2;
const IN_UPPER: u8 = 4;

/// The value of `overlay.origin`.
pub fn encode(handle: &FileHandle, uuid: &[u8; 16]) -> Option<Vec<u8>> {
    encode_with(handle, uuid, NATIVE_ENDIAN)
}

/// The value of `overlay.upper`, for something in the upperdir.
pub fn encode_upper(handle: &FileHandle, uuid: &[u8; 16]) -> Option<Vec<u8>> {
    encode_with(handle, uuid, NATIVE_ENDIAN | IN_UPPER)
}

fn encode_with(handle: &FileHandle, uuid: &[u8; 16], flags: u8) -> Option<Vec<u8>> {
    let len = u8::try_from(HEADER + handle.bytes.len()).ok()?;
    let mut value = Vec::with_capacity(len.into());
    value.extend_from_slice(&[VERSION, MAGIC, len, flags, handle.kind]);
    value.extend_from_slice(uuid);
    value.extend_from_slice(&handle.bytes);
    Some(value)
}

/// A decoded `overlay.origin`.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// UUID of the filesystem.
    pub uuid: [u8; 16],
    /// How the filesystem encoded the handle.
    pub kind: u8,
    /// The handle.
    pub bytes: &'a [u8],
}

/// Reads a value of `overlay.origin`; `None` when it is empty (the kernel writes that when the lower has no handle), of
/// another version or byte order, or broken.
pub fn decode(value: &[u8]) -> Option<Origin<'_>> {
    let (header, bytes) = value.split_at_checked(HEADER)?;
    let valid = header[0] == VERSION
        && header[1] == MAGIC
        && usize::from(header[2]) == value.len()
        && (header[3] & ANY_ENDIAN != 0 || header[3] & 1 == NATIVE_ENDIAN);
    let uuid = header[5..HEADER].try_into().ok()?;
    valid.then_some(Origin { uuid, kind: header[4], bytes })
}

/// The subvolume that a handle of btrfs names: inode numbers are those of its own (`struct btrfs_fid`: the object id comes first, that
/// of its root next; `FILEID_BTRFS_WITHOUT_PARENT` is 0x4d, and the two others follow).
pub fn subvolume(kind: u8, bytes: &[u8]) -> Option<[u8; 8]> {
    if matches!(kind, 0x4d..=0x4f) { bytes.get(8..16)?.try_into().ok() } else { None }
}

/// The name of a file's entry in the index directory: its origin in hexadecimal (`ovl_get_index_name`). `None` when that is
/// longer than a name can be.
pub fn index_name(origin: &[u8]) -> Option<OsString> {
    if origin.len() * 2 > NAME_MAX {
        return None;
    }
    let mut name = String::with_capacity(origin.len() * 2);
    for byte in origin {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Some(name.into())
}

/// How the handles of one filesystem carry the inode number. Only those forms are known whose layout is part of a kernel's
/// on-disk or wire promise; each is checked against the root of a layer before it is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleDecoder {
    /// `FILEID_INO32_GEN`: 32-bit number first (ext4, squashfs, f2fs, …).
    Ino32,
    /// 64-bit number first (xfs' `FILEID_INO64_GEN`, btrfs' object id).
    Ino64,
    /// Generation, then the 64-bit number (tmpfs).
    GenerationIno64,
}

impl HandleDecoder {
    /// The decoder that reads `ino` from `handle`.
    pub fn calibrate(handle: &FileHandle, ino: u64) -> Option<Self> {
        let candidate = match (handle.kind, handle.bytes.len()) {
            (0x01, 8) => Self::Ino32,
            (0x01, 12) => Self::GenerationIno64,
            (0x4d | 0x81, _) => Self::Ino64,
            _ => return None,
        };
        (candidate.ino(&handle.bytes) == Some(ino)).then_some(candidate)
    }

    /// The inode number in a handle.
    pub fn ino(self, bytes: &[u8]) -> Option<u64> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        match self {
            Self::Ino32 => word(0).map(u64::from),
            Self::Ino64 => Some(u64::from_ne_bytes(bytes.get(0..8)?.try_into().ok()?)),
            Self::GenerationIno64 => Some(u64::from(word(4)?) | u64::from(word(8)?) << 32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let handle = FileHandle { kind: 1, bytes: vec![7, 0, 0, 0, 9, 0, 0, 0] };
        let value = encode(&handle, &[3; 16]).unwrap();
        let origin = decode(&value).unwrap();
        assert_eq!((origin.kind, origin.bytes, origin.uuid), (1, &handle.bytes[..], [3; 16]));
        assert_eq!(HandleDecoder::calibrate(&handle, 7), Some(HandleDecoder::Ino32));
        assert_eq!(HandleDecoder::calibrate(&handle, 8), None);
    }

    #[test]
    fn broken_values_are_refused() {
        let value = encode(&FileHandle { kind: 1, bytes: vec![1; 8] }, &[0; 16]).unwrap();
        assert!(decode(&value[..value.len() - 1]).is_none());
        assert!(decode(&[]).is_none());
        let mut wrong = value.clone();
        wrong[1] = 0;
        assert!(decode(&wrong).is_none());
    }

    #[test]
    fn index_names_are_hexadecimal() {
        assert_eq!(index_name(&[0x00, 0xfb, 0x1d]).unwrap(), "00fb1d");
        assert_eq!(index_name(&[0; 127]).unwrap().len(), 254);
        assert_eq!(index_name(&[0; 128]), None);
    }
}
