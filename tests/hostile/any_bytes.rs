//! The properties that fuzzers test, on bytes of a seeded generator.

use std::time::{Duration, Instant};

use super::{engine, properties};

/// A generator that is the same everywhere (Marsaglia's xorshift64).
struct Bytes(u64);

impl Bytes {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Some bytes, or some of the `words` that mean something, glued together.
    fn some(&mut self, words: &[&str]) -> Vec<u8> {
        let mut data = Vec::new();
        for _ in 0..self.next() % 12 {
            match usize::try_from(self.next() % 3).unwrap() {
                0 => data.push(self.next().to_le_bytes()[3]),
                _ => {
                    let word = words[usize::try_from(self.next()).unwrap() % words.len()];
                    data.extend_from_slice(word.as_bytes());
                }
            }
        }
        data
    }
}

#[test]
fn recorded_stats() {
    let words =
        ["0", "1000", "4294967295", ":", "0644", "4755", "file", "dir", "char-", "block-8-", "-", "symlink"];
    let mut bytes = Bytes(0x9e37_79b9_7f4a_7c15);
    for _ in 0..20_000 {
        properties::recorded_stat(&bytes.some(&words));
    }
}

#[test]
fn command_lines() {
    let words = [
        "\0",
        "unionfuse",
        "mount",
        "-o",
        "--lower",
        "lowerdir=",
        "upperdir=",
        "workdir=",
        "/a",
        ":",
        "::",
        ",",
        "\\",
        "\"",
        "=",
        "uidmapping=",
        "0:0:4294967295",
        "squash_to_uid=",
        "threads=",
        "-1",
        "remount",
        "ro",
        "--",
        "-",
        "volatile",
        "x-",
        "index=on",
        "redirect_dir=off",
        "mnt",
    ];
    let mut bytes = Bytes(1);
    for _ in 0..3_000 {
        properties::command_line(&bytes.some(&words));
    }
}

#[test]
fn layer_lists_and_id_ranges() {
    let words = [":", "::", "\\", "\\:", "\\,", "\\\\", "/a", ",", "\"", "0", "1", "4294967295", "+1", " "];
    let mut bytes = Bytes(2);
    for _ in 0..30_000 {
        let data = bytes.some(&words);
        properties::layer_list(&data);
        properties::id_ranges(&data);
    }
}

#[test]
fn origins() {
    let mut bytes = Bytes(3);
    for round in 0..30_000u32 {
        let mut data = bytes.some(&["\0\u{0}", "1234567890abcdef", "\u{1}"]);
        if round % 2 == 0 && data.len() > 4 {
            let len = u8::try_from(data.len()).unwrap();
            let endian = data[3] & 3;
            data[..4].copy_from_slice(&[0, 0xfb, len, endian]);
        }
        properties::origin_value(&data);
    }
}

#[test]
fn xattr_names() {
    let words = ["user.", "trusted.", "overlay.", "fuseoverlayfs.", "opaque", ".wh.", "security."];
    let mut bytes = Bytes(4);
    for _ in 0..30_000 {
        properties::xattr_name(&bytes.some(&words));
    }
}

#[test]
fn acls_and_capabilities() {
    let words = [
        "\u{2}\0\0\0",
        "\u{2}\0\u{6}\0\u{5}\0\0\0",
        "\u{8}\0\u{4}\0",
        "\0\0\0\u{2}",
        "\0\0\0\u{3}",
        "\0\0\0\0",
    ];
    let mut bytes = Bytes(6);
    for _ in 0..30_000 {
        properties::named_ids(&bytes.some(&words));
    }
}

#[test]
fn what_daemons_leave_for_each_other() {
    let words = [
        "#mode.",
        "abc",
        ".",
        "644",
        "444",
        "union-1 ",
        "1:2",
        " ",
        "-",
        "opening",
        "unmounted",
        "elsewhere",
        "\n",
    ];
    let mut bytes = Bytes(7);
    for _ in 0..30_000 {
        properties::notes_of_daemons(&bytes.some(&words));
    }
}

#[test]
fn marks_in_layers() {
    let layers = engine::Layers::new();
    let mut bytes = Bytes(5);
    let begin = Instant::now();
    for _ in 0..300 {
        let data: Vec<u8> = (0..120).map(|_| bytes.next().to_le_bytes()[3]).collect();
        layers.run(&data);
        if begin.elapsed() > Duration::from_secs(8) {
            break;
        }
    }
}
