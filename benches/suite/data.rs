//! What the layers hold: the same bytes and names in every run, on every machine.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fastrand::Rng;
use fs_err as fs;

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Sizes {
    pub tree_files: usize,
    pub removed_files: usize,
    pub storm_files: usize,
    pub copied_files: usize,
    pub created_files: usize,
    pub repo_files: usize,
    pub c_files: usize,
    pub big_dir_entries: usize,
    pub lookups: usize,
    pub stream_mib: u64,
    pub random_mib: u64,
    pub random_ops: usize,
    pub big_mib: u64,
    pub huge_mib: u64,
    pub layered_files: usize,
    pub mixed_rounds: usize,
    pub many_files: usize,
    /// How often a warm pass is made for one result, at most.
    pub warm_passes: u32,
}

impl Sizes {
    pub fn full() -> Self {
        Self {
            tree_files: 12_800,
            removed_files: 12_000,
            storm_files: 3_000,
            copied_files: 3_000,
            created_files: 20_000,
            repo_files: 3_000,
            c_files: 150,
            big_dir_entries: 200_000,
            lookups: 20_000,
            stream_mib: 256,
            random_mib: 64,
            random_ops: 20_000,
            big_mib: 512,
            huge_mib: 2048,
            layered_files: 10_000,
            mixed_rounds: 300,
            many_files: 1_000_000,
            warm_passes: 5,
        }
    }

    pub fn quick() -> Self {
        Self {
            tree_files: 1_600,
            removed_files: 800,
            storm_files: 200,
            copied_files: 300,
            created_files: 1_000,
            repo_files: 400,
            c_files: 8,
            big_dir_entries: 5_000,
            lookups: 1_000,
            stream_mib: 16,
            random_mib: 8,
            random_ops: 500,
            big_mib: 32,
            huge_mib: 64,
            layered_files: 1_000,
            mixed_rounds: 20,
            many_files: 10_000,
            warm_passes: 2,
        }
    }
}

const WORDS: [&str; 16] = [
    "static ", "lower ", "return ", "upper ", "struct ", "while ", "0x7f3a ", "entry ", "if ", "value ",
    "= ", "{\n", "}\n", ";\n", "\n    ", "union ",
];

/// Text such as source code is: of a few words, compressible, with lines.
pub fn text(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 8);
    while text.len() < length {
        text.extend_from_slice(WORDS[rng.usize(..WORDS.len())].as_bytes());
    }
    text.truncate(length);
    text
}

/// Most files are small, some are not: 6 KiB on average, as in a tree of sources.
fn length(rng: &mut Rng) -> usize {
    if rng.u32(..500) == 0 {
        return 256 << 10;
    }
    let share = rng.f64();
    200 + (share * share * share * 22_000.0) as usize
}

const FILES_A_DIR: usize = 16;

/// Where file `n` of a tree is.
pub fn tree_path(n: usize) -> PathBuf {
    let dir = n / FILES_A_DIR;
    PathBuf::from(format!("top{:02}/dir{:03}/file{n:06}.txt", dir / 20, dir % 20))
}

/// A word that is in no file.
pub const NEEDLE: &str = "a needle that is nowhere";

/// Writes the `files` files of a tree that `choose` says yes to. Their contents depend on their number alone.
pub fn tree(root: &Path, files: usize, choose: impl Fn(usize) -> bool) -> Result<()> {
    fs::create_dir_all(root)?;
    for n in (0..files).filter(|n| choose(*n)) {
        let path = root.join(tree_path(n));
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut rng = Rng::with_seed(n as u64);
        let length = length(&mut rng);
        fs::write(path, text(&mut rng, length))?;
    }
    Ok(())
}

/// The layer (of three) that file `n` of the tree for walks is in: most directories are in one layer alone, a
/// quarter of them has files of all.
pub fn layer_of(n: usize) -> usize {
    let dir = n / FILES_A_DIR;
    let place = if dir.is_multiple_of(4) { n } else { dir };
    // Spread evenly, but not in the order of names.
    match place * 7919 % 10 {
        0 => 0,
        1..=3 => 1,
        _ => 2,
    }
}

/// A file without holes, of bytes that differ from block to block.
pub fn big_file(path: &Path, mib: u64) -> Result<()> {
    let mut file = fs::File::create(path)?;
    let mut block: Vec<u8> = text(&mut Rng::with_seed(mib), 1 << 20);
    for n in 0..mib {
        block[..8].copy_from_slice(&n.to_le_bytes());
        file.write_all(&block)?;
    }
    Ok(())
}

/// The name of entry `n` of a large directory.
pub fn entry_name(n: usize) -> String {
    format!("entry-{n:07}")
}

/// Empty files `numbers` in `dir`.
pub fn entries(dir: &Path, numbers: impl Iterator<Item = usize>) -> Result<()> {
    fs::create_dir_all(dir)?;
    for n in numbers {
        fs::File::create(dir.join(entry_name(n)))?;
    }
    Ok(())
}

/// A tree in `count` layers, as images made of many have it: the directories near the root are in most layers,
/// those further down in two.
pub fn layered(layer: impl Fn(usize) -> PathBuf, count: usize, files: usize) -> Result<()> {
    const FILES_A_DIR: usize = 20;
    for n in (0..files).rev() {
        let dir = n / FILES_A_DIR;
        let home = dir * 7919 % count;
        let at = if n % 2 == 0 { home } else { (home + 1) % count };
        let dir = layer(at).join(format!("top{:02}/dir{:03}", dir % 25, dir));
        fs::create_dir_all(&dir)?;
        let mut rng = Rng::with_seed(n as u64);
        let length = rng.usize(100..1000);
        fs::write(dir.join(format!("file{n:06}")), text(&mut rng, length))?;
    }
    Ok(())
}

/// The sources of a program of `files` files with headers that all of them include: in the lower of two layers the
/// program, in the upper one the generated headers.
pub fn c_project(sources: &Path, generated: &Path, files: usize) -> Result<()> {
    let (src, include) = (sources.join("src"), sources.join("include"));
    let generated = generated.join("include/gen");
    for dir in [&src, &include, &generated] {
        fs::create_dir_all(dir)?;
    }
    for n in 0..files {
        fs::write(include.join(format!("part{n}.h")), format!("#pragma once\nint part{n}(int);\n"))?;
        fs::write(generated.join(format!("config{n}.h")), format!("#pragma once\n#define CONFIG_{n} {n}\n"))?;
        fs::write(src.join(format!("part{n}.c")), c_file(n, files))?;
    }
    let calls: String = (0..files).map(|n| format!("    sum += part{n}(sum);\n")).collect();
    let includes: String = (0..files).map(|n| format!("#include \"part{n}.h\"\n")).collect();
    let main = format!("{includes}int main(void) {{\n    int sum = 0;\n{calls}    return sum == 42;\n}}\n");
    fs::write(src.join("main.c"), main)?;
    let makefile = "CFLAGS = -O1 -Iinclude\n\
        OBJECTS = $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c))\n\
        program: $(OBJECTS)\n\tgcc -o $@ $(OBJECTS)\n\
        obj/%.o: src/%.c | obj\n\tgcc $(CFLAGS) -MMD -c -o $@ $<\n\
        obj:\n\tmkdir obj\n";
    fs::write(sources.join("Makefile"), makefile)?;
    Ok(())
}

/// So many in each file that the compiler has some work beside reading headers.
const FUNCTIONS: usize = 8;

fn c_file(n: usize, files: usize) -> String {
    let mut text =
        String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <errno.h>\n");
    for near in 0..20 {
        let other = (n + near) % files;
        text += &format!("#include \"part{other}.h\"\n#include \"gen/config{other}.h\"\n");
    }
    for f in 0..FUNCTIONS {
        text += &format!(
            "static int f{f}(int a, int b) {{\n    int s = CONFIG_{n};\n    for (int i = a; i < b; i++) \
             s += i * {f} + (s >> 3) % (i + 1);\n    if (s < 0) fprintf(stderr, \"%d %d\\n\", a, b);\n    \
             return s;\n}}\n"
        );
    }
    let sum: String = (0..FUNCTIONS).map(|f| format!(" + f{f}(a, {f})")).collect();
    text + &format!("int part{n}(int a) {{ return a{sum}; }}\n")
}
