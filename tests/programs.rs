//! Real programs at work in a union. Each test is a shell script, `tests/programs/NAME.sh`, which also runs by itself; see
//! `tests/programs/lib.sh` for how it starts and what `SUBJECT=kernel` and `SUBJECT=fuse-overlayfs` do.

mod script;

use std::ffi::OsStr;

macro_rules! programs {
    ($($name:ident: $minutes:literal,)*) => {
        $(
            #[test]
            fn $name() {
                script::run(concat!("programs/", stringify!($name), ".sh"), $minutes);
            }
        )*
    };
}

programs! {
    cp: 5,
    debian: 20,
    dpkg: 20,
    fio: 5,
    git: 5,
    gocryptfs: 5,
    make: 5,
    rm: 5,
    rsync: 5,
    sqlite: 5,
    stuck: 5,
    tar: 5,
    venv: 10,
    write_errors: 5,
}

/// As a plain user the daemon has no more rights than the programs it serves.
mod as_a_plain_user {
    use super::*;

    macro_rules! programs {
        ($($name:ident,)*) => {
            $(
                #[test]
                fn $name() {
                    let script = concat!("programs/", stringify!($name), ".sh");
                    script::run_with(script, 5, &[("AS_USER", OsStr::new("nobody"))]);
                }
            )*
        };
    }

    programs! { cp, fio, git, make, rm, rsync, sqlite, tar, }
}
