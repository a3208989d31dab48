//! Special files and symlinks.

use rustix::fs::FileType;

use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::layer;

#[test]
fn fifos_and_sockets() {
    let lower = layer().fifo("p").socket("s").symlink("p", "l").dir("d");
    let steps = [
        stat("p"),
        chmod("p", 0o600),
        rename("p", "d/p"),
        link("s", "d/s"),
        utimens("s", 5),
        unlink("l"),
        fifo("p"),
        mknod("s2", FileType::Socket, 0o700, (0, 0)),
        unlink("d/p"),
        mknod("regular", FileType::RegularFile, 0o640, (0, 0)),
        stat("regular"),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn devices() {
    let lower = layer()
        .char_device("null", 1, 3)
        .block_device("loop", 7, 200)
        .char_device("big", 400, 200_000)
        .dir("d");
    let steps = [
        stat("null"),
        stat("big"),
        read("null"),
        chmod("null", 0o600),
        chown("loop", 5, 6),
        rename("big", "d/big"),
        link("null", "d/null"),
        mknod("zero", FileType::CharacterDevice, 0o666, (1, 5)),
        mknod("block", FileType::BlockDevice, 0o600, (7, 201)),
        stat("zero"),
        unlink("null"),
        mknod("null", FileType::CharacterDevice, 0o600, (1, 7)),
    ];
    case().lower(lower).run(steps).root_only("device nodes").check();
}

#[test]
fn a_user_cannot_make_a_whiteout_look_like_a_file() {
    let steps = [
        mknod("w", FileType::CharacterDevice, 0o600, (0, 0)),
        stat("w"),
        list(""),
        mknod("f", FileType::CharacterDevice, 0, (0, 0)),
        stat("f"),
    ];
    case()
        .lower(super::one_file())
        .run(steps)
        .kernel_only("whiteouts are refused")
        .root_only("device nodes")
        .check();
}

#[test]
fn a_fifo_carries_data() {
    let talk = call("write into and read from the fifo", || {
        let writer = std::thread::spawn(|| std::fs::write("p", "through the fifo"));
        let heard = std::fs::read_to_string("p").map_err(crate::kit::run::errno)?;
        writer.join().expect("the writer ends").map_err(crate::kit::run::errno)?;
        Ok(heard)
    });
    // The writer's thread is born in the script's thread and shares its working directory.
    case()
        .lower(layer().fifo("p"))
        .run([talk.clone(), utimens("p", 5), talk])
        .kernel_only("fifo times stay what they are")
        .check();
}

#[test]
fn a_socket_can_be_bound_and_reached() {
    let bind = call("bind, connect, talk", || {
        use std::io::{Read, Write};
        let io = crate::kit::run::errno;
        let listener = std::os::unix::net::UnixListener::bind("sock").map_err(io)?;
        let mut client = std::os::unix::net::UnixStream::connect("sock").map_err(io)?;
        let (mut server, _) = listener.accept().map_err(io)?;
        client.write_all(b"hello").map_err(io)?;
        drop(client);
        let mut heard = String::new();
        server.read_to_string(&mut heard).map_err(io)?;
        Ok(heard)
    });
    case().lower(super::one_file()).run([bind, stat("sock")]).check();
}

#[test]
fn symlinks_of_every_length() {
    let long = [b"x/".repeat(500), b"end".to_vec()].concat();
    let lower = layer()
        .symlink("short", "a")
        .symlink(&long, "long")
        .symlink(b"\xff\xfe bytes", "bytes")
        .symlink("/", "root")
        .symlink("..", "d/up");
    let steps = [
        utimens("long", 5),
        rename("bytes", "d/bytes"),
        symlink(&long, "long2"),
        unlink("a"),
        symlink("other", "a"),
        link("root", "d/root"),
    ];
    case().lower(lower).run(steps).check();
}
