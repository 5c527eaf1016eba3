//! What is packaged is what there is.

mod common;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between two texts, each time.
fn between<'a>(text: &'a str, start: &'a str, end: &'a str) -> Vec<&'a str> {
    text.split(start)
        .skip(1)
        .filter_map(|rest| rest.split_once(end))
        .map(|(found, _)| found)
        .collect()
}

#[test]
fn every_tool_is_in_the_wheel() {
    let manifest = file("crates/tools/Cargo.toml");
    let tools: BTreeSet<&str> = between(&manifest, "[[bin]]\nname = \"", "\"")
        .into_iter()
        .collect();
    let setup = file("setup.py");
    let packaged: BTreeSet<&str> = between(&setup, "program(\"", "\")")
        .into_iter()
        .filter_map(|call| call.strip_suffix("\", \"tools"))
        .collect();
    assert!(tools.contains("operf"), "{tools:?}");
    assert_eq!(tools, packaged);
}

#[test]
fn units_start_the_daemon_with_options_that_it_has() {
    let output = Command::new(common::other("irmd"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for unit in ["system", "user"] {
        let unit = file(&format!("packaging/systemd/{unit}/irmd.service"));
        let start = between(&unit, "\nExecStart=", "\n");
        let [start] = start[..] else {
            panic!("one ExecStart in {unit}");
        };
        let mut words = start.split(' ');
        assert_eq!(words.next(), Some("irmd"));
        for option in words {
            assert!(help.contains(option), "irmd has no {option}");
        }
        // Pages that exist, and the directory that the daemon uses.
        for page in between(&unit, "man:", ")") {
            let name = page.replace('(', ".");
            assert!(file(&format!("docs/man/{name}")).contains(".Sh NAME"));
        }
        assert!(unit.contains("\nRuntimeDirectory=ouroboros\n"));
        assert!(unit.contains("\nRuntimeDirectoryPreserve=yes\n"));
    }
    // One socket, where clients look in the directory of the service.
    for unit in ["system", "user"] {
        let unit = file(&format!("packaging/systemd/{unit}/irmd.socket"));
        let socket = o7s::RuntimeDir::at("%t/ouroboros").socket();
        let listens = between(&unit, "\nListenStream=", "\n");
        assert_eq!(listens, [socket.to_str().unwrap()]);
    }
}

#[test]
fn the_group_is_the_one_that_may_manage() {
    let group = o7s_irmd::core::trust::GROUP;
    let users = file("packaging/sysusers.d/ouroboros.conf");
    assert!(
        users.lines().any(|line| line == format!("g {group} -")),
        "{users}"
    );
}
