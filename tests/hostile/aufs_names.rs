//! Whiteouts of the AUFS kind whose names are odd.

use rustix::io::Errno;

use super::{is_root, prepared};

#[test]
fn marks_for_the_directory_itself_or_its_parent_hide_and_show_nothing() {
    let union = prepared(|[top, bottom], _| {
        for name in [".wh.", ".wh..", ".wh..."] {
            top.file(format!("d/{name}"), "data").file(name, "data");
        }
        top.file("d/f", "top");
        bottom.file("d/g", "bottom");
    });
    assert_eq!(union.names("").unwrap(), ["d"]);
    assert_eq!(union.names("d").unwrap(), ["f", "g"]);
    let listed = union.list_some(union.node("d").unwrap(), 0, true, 100).unwrap();
    let names: Vec<_> = listed.iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect();
    assert_eq!(names.iter().filter(|name| *name == "." || *name == "..").count(), 2, "{names:?}");
    assert_eq!(listed.len(), 4, "{names:?}");
}

#[test]
fn marks_as_long_as_names_can_be() {
    let longest = "n".repeat(251);
    let too_long = "m".repeat(252);
    let union = prepared(|[top, bottom], _| {
        top.file(format!("d/.wh.{longest}"), "");
        bottom.file(format!("d/{longest}"), "").file(format!("d/{too_long}"), "");
    });
    assert_eq!(union.names("d").unwrap(), [too_long.as_str()]);
    union.create(format!("d/.wh.{longest}")).unwrap();
    assert_eq!(union.names("d").unwrap(), [format!(".wh.{longest}"), too_long.clone()]);
    union.unlink(format!("d/.wh.{longest}")).unwrap();
    union.unlink(format!("d/{too_long}")).unwrap();
    union.create(format!("d/{longest}")).unwrap();
    assert_eq!(union.names("d").unwrap(), [longest.as_str()]);
}

#[test]
fn marks_that_are_directories_with_content() {
    let union = prepared(|[top, bottom], _| {
        top.file("d/.wh..wh..opq/inner", "x").file("e/.wh.gone/inner", "x").file("e/f", "top");
        bottom.file("d/f", "bottom").file("e/gone", "bottom").file("e/g", "bottom");
    });
    assert!(union.names("d").unwrap().is_empty(), "the mark makes it opaque, whatever it is");
    assert_eq!(union.names("e").unwrap(), ["f", "g"]);
    for hidden in ["d/.wh..wh..opq", "e/.wh.gone"] {
        assert_eq!(union.stat(hidden).unwrap_err(), Errno::NOENT);
    }
    union.create("e/gone").unwrap();
    union.rmdir("d").unwrap();
}

#[test]
fn a_mark_hides_in_the_layers_below_only() {
    let union = prepared(|[top, bottom], upper| {
        // In the upperdir such names are ordinary ones.
        upper.file("d/.wh.a", "").file("d/.wh..wh..opq", "");
        top.file("d/a", "top").file("d/.wh.a", "").symlink("d/.wh.b", "/nowhere");
        bottom.file("d/b", "bottom");
    });
    assert_eq!(union.names("d").unwrap(), [".wh..wh..opq", ".wh.a", "a"]);
}

#[test]
fn a_mark_may_be_a_device_or_a_fifo() {
    if !is_root("devices") {
        return;
    }
    let union = prepared(|[top, bottom], _| {
        top.node("d/.wh.a", rustix::fs::FileType::Fifo, 0o600, 0);
        top.node("d/.wh.b", rustix::fs::FileType::CharacterDevice, 0o600, rustix::fs::makedev(1, 3));
        bottom.file("d/a", "bottom").file("d/b", "bottom").file("d/c", "bottom");
    });
    assert_eq!(union.names("d").unwrap(), ["c"]);
}
