//! One daemon per directory, directories that cannot be used, and ways to end.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{chown, symlink},
            net::UnixListener,
        },
    },
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::*;

/// Runs a daemon that must refuse to start in `dir`; what it says.
fn refused(dir: &Path) -> String {
    let output = irmd_in(dir).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn irmd_in(dir: &Path) -> Command {
    let mut command = Command::new(irmd());
    command.arg("--runtime-dir").arg(dir).stdin(Stdio::null());
    command
}

#[test]
fn a_second_daemon_names_the_first() {
    let daemon = start();
    let said = refused(daemon.dir().path());
    assert!(said.contains(&format!("pid {}", daemon.pid())), "{said}");
    assert!(said.contains(&daemon.dir().to_string()), "{said}");
    // The first is not disturbed.
    manager(daemon.dir());
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run");
    let mut first = builder().dir(&dir).start().unwrap();
    manager(first.dir());
    first.kill().unwrap();
    assert!(first.dir().socket().exists());
    let second = builder().dir(&dir).start().unwrap();
    manager(second.dir());
}

#[test]
fn an_orderly_stop_leaves_an_empty_directory() {
    let temp = tempfile::tempdir().unwrap();
    let mut daemon = builder().dir(temp.path()).start().unwrap();
    let _connection = announce(daemon.dir(), "p");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let pid = Pid::from_raw(daemon.pid()).unwrap();
        kill_process(pid, signal).unwrap();
        let status = daemon.stop().unwrap();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
        daemon = builder().dir(temp.path()).start().unwrap();
    }
}

#[test]
fn a_daemon_ends_with_its_parent() {
    ipcpd();
    let temp = tempfile::tempdir().unwrap();
    // As an embedded node starts it: with descriptors under numbers of its choice.
    let mut child = Command::new("/bin/sh")
        .args(["-c", "exec \"$@\" 7>&1 8<&0 </dev/null >/dev/null", "sh"])
        .arg(irmd())
        .arg("--runtime-dir")
        .arg(temp.path())
        .args(["--die-with-fd", "8", "--ready-fd", "7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let irm = o7s::irm::Irm::at(o7s::RuntimeDir::at(temp.path()));
    let ipcp = irm.create_ipcp("l", o7s::irm::IpcpType::Local).unwrap();
    // What a parent writes there does not matter, only that it ends.
    let mut lifeline = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut lifeline, b"still here").unwrap();
    irm.list_ipcps().unwrap();
    drop(lifeline);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    let gone = rustix::process::test_kill_process(Pid::from_raw(ipcp).unwrap());
    assert_eq!(gone, Err(rustix::io::Errno::SRCH));
}

#[test]
fn a_service_manager_may_pass_the_socket() {
    let temp = tempfile::tempdir().unwrap();
    let dir = o7s::RuntimeDir::at(temp.path());
    let listener = UnixListener::bind(dir.socket()).unwrap();
    let mut child = Command::new("/bin/sh")
        .args([
            "-c",
            "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&0 </dev/null",
            "sh",
        ])
        .arg(irmd())
        .arg("--runtime-dir")
        .arg(temp.path())
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A client may come before the daemon listens.
    let status = o7s::irm::Irm::at(dir.clone()).status().unwrap();
    assert_eq!(status.daemon_pid, child.id() as i32);
    let pid = Pid::from_raw(status.daemon_pid).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // The next client starts the next daemon.
    assert!(dir.socket().exists() && !dir.lock().exists());
}

#[test]
fn an_ipcp_ends_with_a_killed_daemon() {
    ipcpd();
    let mut daemon = start();
    let irm = o7s::irm::Irm::at(daemon.dir().clone());
    let ipcp = irm.create_ipcp("l", o7s::irm::IpcpType::Local).unwrap();
    let pidfd = rustix::process::pidfd_open(
        Pid::from_raw(ipcp).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    daemon.kill().unwrap();
    let mut fds = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut fds, None).unwrap();
}

#[test]
fn directories_that_cannot_be_used() {
    let temp = tempfile::tempdir().unwrap();
    let long = temp.path().join("d".repeat(120));
    let said = refused(&long);
    assert!(said.contains("too long for a socket"), "{said}");

    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    let said = refused(&file);
    assert!(said.contains("not a directory"), "{said}");

    let link = temp.path().join("link");
    symlink(temp.path(), &link).unwrap();
    let said = refused(&link);
    assert!(said.contains("not a directory"), "{said}");

    let open = temp.path().join("open");
    fs::create_dir(&open).unwrap();
    allow(&open, 0o777);
    let said = refused(&open);
    assert!(said.contains("others may write"), "{said}");

    let said = if rustix::process::geteuid().is_root() {
        refused(Path::new("/sys/o7s"))
    } else {
        let read_only = temp.path().join("ro");
        fs::create_dir(&read_only).unwrap();
        allow(&read_only, 0o500);
        refused(&read_only)
    };
    assert!(said.contains("OUROBOROS_RUNTIME_DIR"), "{said}");

    let mut missing = builder().dir(temp.path().join("a/b")).start().unwrap();
    missing.stop().unwrap();
}

#[test]
fn a_directory_of_somebody_else() {
    if !is_root("a_directory_of_somebody_else") {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    chown(temp.path(), Some(65_534), None).unwrap();
    let said = refused(temp.path());
    assert!(said.contains("belongs to user 65534"), "{said}");
}

#[test]
fn a_private_directory_goes_with_its_daemon() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run");
    let private = || builder().dir(&dir).arg("--remove-runtime-dir");
    private().start().unwrap().kill().unwrap();
    let mut second = private().start().unwrap();
    fs::write(dir.join("log"), "of the node").unwrap();
    assert!(second.stop().unwrap().success());
    assert!(!dir.exists());

    // Nobody's files are removed by mistake.
    fs::write(temp.path().join("file"), "precious").unwrap();
    let output = irmd_in(temp.path())
        .arg("--remove-runtime-dir")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("\"file\""), "{said}");
    assert!(temp.path().join("file").exists());
}

#[test]
fn the_command_line() {
    let run = |args: &[&str]| -> Output { Command::new(irmd()).args(args).output().unwrap() };
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!(
            "Ouroboros version 0.23.0 (o7s {})\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let closed = run(&["--ready-fd", "99"]);
    assert_eq!(closed.status.code(), Some(1));
    let said = String::from_utf8(closed.stderr).unwrap();
    assert!(said.contains("descriptor 99 (--ready-fd)"), "{said}");
    assert_ne!(run(&["--wrong"]).status.code(), Some(0));
}

#[test]
fn log_lines() {
    let temp = tempfile::tempdir().unwrap();
    for (json, expected) in [
        (false, "irmd(II): Process added: "),
        (true, "\"level\":\"INFO\""),
    ] {
        let mut command = irmd_in(temp.path());
        command
            .args(["--stdout", "--foreground", "--log-level", "info"])
            .args(["--die-with-fd", "0"])
            .args(json.then_some("--json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut log = String::new();
        while !log.contains("daemon started") {
            assert_ne!(lines.read_line(&mut log).unwrap(), 0);
        }
        announce(&o7s::RuntimeDir::at(temp.path()), "logged");
        drop(child.stdin.take());
        lines.read_to_string(&mut log).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(log.contains(expected), "{log}");
        assert!(log.contains("(logged)"), "{log}");
        let first = log.lines().next().unwrap();
        let pid = format!("=={:05}== irmd(II): ", child.id());
        assert_eq!(first.starts_with(&pid), !json, "{first}");
    }
}
