//! Real programs at work in a union. Each test is a shell script, `tests/programs/NAME.sh`, which also runs by itself; see
//! `tests/programs/lib.sh` for how it starts and what `SUBJECT=kernel` and `SUBJECT=fuse-overlayfs` do.

mod script;

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
    git: 5,
    make: 5,
    rm: 5,
    rsync: 5,
    sqlite: 5,
    tar: 5,
    venv: 10,
}
