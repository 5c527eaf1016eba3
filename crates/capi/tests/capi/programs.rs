//! The programs in `c/`, each on a node of its own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use o7s::{QosSpec, control::Impairment, irm::NameInfo};
use o7s_tests::TestNode;

use crate::stage::{compile, out, run, source, stage};

/// A command that runs the program `name`, to be completed.
fn program(name: &str, node: &std::path::Path) -> Command {
    let source = source(&format!("{name}.c"));
    let flags = ["-std=c99", "-D_POSIX_C_SOURCE=200809L"];
    let mut command = Command::new(compile("cc", &flags, &source));
    command
        .env("LD_LIBRARY_PATH", stage().join("lib"))
        .env(o7s::runtime::ENV, node);
    command
}

/// Runs the program on a fresh node.
fn alone(name: &str, arguments: &[&str]) {
    let node = TestNode::start();
    run(program(name, node.dir().path()).args(arguments));
    // It left nothing behind.
    node.until_status(|status| {
        status.processes == 0 && status.flows == 0 && status.pending == 0 && status.bells == 0
    });
}

#[test]
fn flows() {
    alone("flows", &[]);
}

#[test]
fn events() {
    alone("events", &[]);
}

#[test]
fn components() {
    alone("components", &[]);
}

#[test]
fn management() {
    let dir = tempfile::tempdir().unwrap();
    alone("management", &[dir.path().to_str().unwrap()]);
}

#[test]
fn cancelled_threads() {
    alone("cancel", &[]);
}

#[test]
fn a_thread_that_lingers_is_cancelled() {
    let node = TestNode::start_impaired(Impairment {
        loss: 1_000_000,
        ..Impairment::default()
    });
    run(&mut program("linger", node.dir().path()));
}

#[test]
fn broadcast() {
    alone("broadcast", &[]);
}

#[test]
fn many_threads() {
    alone("threads", &[]);
}

#[test]
fn forks() {
    alone("forked", &[]);
}

/// Started by a test that goes on when the program says that it waits.
fn waiting(command: &mut Command) -> std::process::Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "waiting\n");
    child
}

/// Lets it go on, and waits for its end.
fn finish(mut child: std::process::Child) {
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn a_daemon_that_comes_later_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = o7s::RuntimeDir::at(dir.path().join("run"));
    let child = waiting(&mut program("later", dir.path()));
    let _node = TestNode::start_in(&dir);
    finish(child);
}

#[test]
fn a_program_is_known_before_its_first_call() {
    for by_program in [true, false] {
        let node = TestNode::start();
        let irm = node.irm();
        let info = NameInfo {
            name: "svc".to_owned(),
            ..NameInfo::default()
        };
        irm.create_name(&info).unwrap();
        irm.reg_name("svc", node.ipcp()).unwrap();
        let mut command = program("announced", node.dir().path());
        if by_program {
            let path = command.get_program().to_owned();
            irm.bind_program(path.as_ref(), "svc", false, &[]).unwrap();
        }
        let child = waiting(&mut command);
        if !by_program {
            let pid = child.id().try_into().unwrap();
            irm.bind_process(pid, "svc").unwrap();
        }
        let client = std::thread::spawn({
            let node = node.node();
            move || node.alloc("svc", QosSpec::RAW, None)?.read_packet()
        });
        finish(child);
        assert_eq!(client.join().unwrap().unwrap(), b"hello\0");
    }
}

/// The programs in `docs/c.md`, by the file names before them.
fn documented() -> Vec<(&'static str, &'static str)> {
    include_str!("../../../../docs/c.md")
        .split("<!-- ")
        .skip(1)
        .filter_map(|part| part.split_once(" -->\n```c\n"))
        .filter_map(|(name, rest)| Some((name, rest.split_once("```")?.0)))
        .collect()
}

#[test]
fn the_documented_programs_run() {
    let node = TestNode::start();
    let programs: Vec<_> = documented()
        .into_iter()
        .map(|(name, text)| {
            let source = out().join(name);
            std::fs::write(&source, text).unwrap();
            compile("cc", &["-std=c99"], &source)
        })
        .collect();
    let [echo, hello, secret] = &programs[..] else {
        panic!("{programs:?}");
    };
    let command = |program| {
        let mut command = Command::new(program);
        command
            .env("LD_LIBRARY_PATH", stage().join("lib"))
            .env(o7s::runtime::ENV, node.dir().path());
        command
    };
    node.register("echo");
    node.irm().bind_program(echo, "echo", false, &[]).unwrap();
    for (client, said) in [(hello, "hello\n"), (secret, "256 bits\n")] {
        let mut server = command(echo).spawn().unwrap();
        let output = run(&mut command(client));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
        assert!(server.wait().unwrap().success());
    }
    node.until_status(|status| status.processes == 0);
    // Without a server: the whole story.
    node.irm().unbind_program("echo-std=c99", None).unwrap();
    let output = command(hello).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("no flow: ") && said.contains("echo"),
        "{said}"
    );
}

#[test]
fn nothing_is_leaked_or_misused() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: there is no valgrind");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    for (name, argument) in [
        ("flows", Some("no-fork")),
        ("events", None),
        ("components", None),
        ("management", Some(dir)),
        ("forked", None),
    ] {
        let node = TestNode::start();
        let plain = program(name, node.dir().path());
        let mut command = Command::new("valgrind");
        command
            .args(["--error-exitcode=9", "--quiet"])
            // A child keeps what its parent had, and never touches it.
            .arg(match name {
                "forked" => "--leak-check=no",
                _ => "--leak-check=full",
            })
            .args([
                "--show-leak-kinds=definite,indirect",
                "--errors-for-leak-kinds=definite,indirect",
            ])
            .arg(plain.get_program())
            .args(argument);
        for (key, value) in plain.get_envs() {
            command.env(key, value.expect("a value"));
        }
        let begun = Instant::now();
        run(&mut command);
        assert!(begun.elapsed() < Duration::from_secs(300), "{name}");
    }
}
