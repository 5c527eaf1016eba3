//! `irmd --config` and `--check-config`: a file is carried out, and what fails is told.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use o7s::irm::{Balance, Irm};
use o7s_irmd::embedded::Daemon;
use support::{accept_body, alloc_body, announce, bind_own, flow, further, ipcpd, irmd};

/// A file of one test, and its directory.
struct File {
    dir: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("irmd.conf"), text).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("irmd.conf").canonicalize().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn start(&self, args: &[&str]) -> std::io::Result<Daemon> {
        let log = fs::File::create(self.dir.path().join("log")).unwrap();
        args.iter()
            .fold(Daemon::builder(irmd()), |builder, arg| builder.arg(*arg))
            .arg("--config")
            .arg(self.path())
            .env("OUROBOROS_IPCPD", ipcpd())
            .stderr(log)
            .start()
    }
}

fn run(args: &[&str], file: &Path) -> Output {
    Command::new(irmd()).args(args).arg(file).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Name, policy, programs and processes of every name.
fn names(irm: &Irm) -> Vec<(String, i32, Vec<String>, Vec<i32>)> {
    let names = irm.list_names().unwrap().into_iter();
    names
        .map(|info| (info.name, info.balance, info.programs, info.processes))
        .collect()
}

#[test]
fn all_is_set_up_when_the_daemon_is_ready() {
    let file = File::new(
        "[name.oping]\nlb = \"round-robin\"\nprog = [\"/usr/bin/oping\", \"other\"]\n\
         args = [\"--listen\"]\n\
         [local.l1]\nbootstrap = \"home\"\nautobind = true\nreg = [\"oping\", \"web\"]\n\
         [local.spare]\nregs = []\n",
    );
    let mut daemon = file.start(&["--no-direct"]).unwrap();
    let irm = Irm::at(daemon.dir().clone());
    let ipcps = irm.list_ipcps().unwrap();
    let shown: Vec<_> = ipcps
        .iter()
        .map(|ipcp| (ipcp.name.as_str(), ipcp.layer.as_str()))
        .collect();
    assert_eq!(shown, [("l1", "home"), ("spare", "")]);
    let (spill, robin) = (Balance::Spill as i32, Balance::RoundRobin as i32);
    let pid = ipcps[0].pid;
    let programs = vec!["oping".to_owned(), "other".to_owned()];
    assert_eq!(
        names(&irm),
        [
            ("home".to_owned(), spill, vec![], vec![pid]),
            ("l1".to_owned(), spill, vec![], vec![pid]),
            ("oping".to_owned(), robin, programs, vec![]),
            ("web".to_owned(), spill, vec![], vec![]),
        ]
    );
    // Both are registered: without direct flows only the layer leads to them.
    let mut announced = announce(daemon.dir(), "config-test");
    for name in ["oping", "web"] {
        bind_own(&mut announced, name);
        let mut client = further(daemon.dir(), "config-test");
        let mut server = further(daemon.dir(), "config-test");
        let alloc = client.start(alloc_body(name, None)).unwrap();
        let accept = server.start(accept_body(None)).unwrap();
        assert_eq!(flow(&mut client, alloc).unwrap().0.name, name);
        flow(&mut server, accept).unwrap();
    }
    assert!(daemon.stop().unwrap().success());
    // What has no effect is in the log.
    let warning = format!(
        "{}:10:1: unknown key \"regs\" is ignored",
        file.path().display()
    );
    assert!(file.log().contains(&warning), "{}", file.log());
    assert!(
        file.log().contains("3 entries carried out"),
        "{}",
        file.log()
    );
}

#[test]
fn a_failed_entry_is_told_and_the_others_are_carried_out() {
    let file = File::new(
        "[name.n1]\nprog = [\"/x/o\", \"/y/o\"]\n\
         [name.a]\nprog = [\"/x/same\", \"/y/same\", \"last\"]\n\
         [local.l]\nbootstrap = \"home\"\nreg = [\"a\"]\n",
    );
    let mut daemon = file.start(&[]).unwrap();
    let irm = Irm::at(daemon.dir().clone());
    let ipcps = irm.list_ipcps().unwrap();
    assert_eq!((ipcps.len(), ipcps[0].layer.as_str()), (1, "home"));
    // Of the failed entry of the name, what follows the failure, too.
    assert_eq!(names(&irm)[0].2, ["last", "same"]);
    // At the end the status says it.
    assert_eq!(daemon.stop().unwrap().code(), Some(1));
    let (log, path) = (file.log(), file.path());
    for expected in [
        format!(
            "{}:2: cannot bind the program /y/o to \"n1\": program o is bound",
            path.display()
        ),
        format!(
            "{}:4: cannot bind the program /y/same to \"a\": program same is bound",
            path.display()
        ),
        format!("Configuration {}: 2 of 3 entries failed.", path.display()),
        format!(
            "irmd: 2 of 3 entries of the configuration file {} failed; the log says which and why",
            path.display()
        ),
    ] {
        assert!(log.contains(&expected), "{expected}\n{log}");
    }
}

#[test]
fn a_strict_daemon_ends_with_a_failed_entry() {
    let file =
        File::new("[name.n1]\nprog = [\"/x/o\", \"/y/o\"]\n[local.l]\nbootstrap = \"home\"\n");
    let error = file.start(&["--strict-config"]).unwrap_err().to_string();
    assert!(error.contains("exit status: 1"), "{error}");
    let log = file.log();
    assert!(log.contains("1 of 2 entries"), "{log}");
    // With nothing to complain about it serves.
    let file = File::new("[local.l]\nbootstrap = \"home\"\n");
    let mut daemon = file.start(&["--strict-config"]).unwrap();
    assert!(daemon.stop().unwrap().success());
}

#[test]
fn a_file_that_cannot_be_used_starts_nothing() {
    let file = File::new("[name.a]\nlb = \"spil\"\n");
    let error = file.start(&[]).unwrap_err().to_string();
    assert!(error.contains("exit status: 1"), "{error}");
    let log = file.log();
    assert!(
        log.starts_with("error: \"spil\" is no value of lb\n"),
        "{log}"
    );
    let missing = run(&["--config"], Path::new("/nowhere/irmd.conf"));
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(
        text(&missing.stderr),
        "error: cannot read the configuration file /nowhere/irmd.conf: No such file or directory \
         (os error 2)\n"
    );
    let endless = run(&["--check-config"], Path::new("/dev/zero"));
    assert_eq!(endless.status.code(), Some(1));
    let error = text(&endless.stderr);
    assert!(
        error.contains("it is larger than 16777216 bytes"),
        "{error}"
    );
}

#[test]
fn a_file_is_checked_without_a_daemon() {
    let good = File::new("[local.l]\nbootstrap = \"home\"\n[name.a]\n");
    let output = run(&["--check-config"], &good.path());
    assert!(output.status.success());
    let path = good.path().display().to_string();
    assert_eq!(
        text(&output.stdout),
        format!("{path}: good: 1 name, 1 IPCP\n")
    );
    assert_eq!(text(&output.stderr), "");

    let doubtful = File::new("[local.l]\nbootstrop = \"home\"\n");
    let output = run(&["--check-config"], &doubtful.path());
    assert!(output.status.success());
    let path = doubtful.path().display().to_string();
    assert_eq!(
        text(&output.stdout),
        format!("{path}: good: 0 names, 1 IPCP; 1 warning\n")
    );
    assert!(text(&output.stderr).starts_with("warning: unknown key \"bootstrop\" is ignored\n"));

    let bad = File::new("[locl.l]\n");
    let output = run(&["--check-config"], &bad.path());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let path = bad.path().display().to_string();
    assert_eq!(
        text(&output.stderr),
        format!(
            "error: unknown top-level key \"locl\"\n --> {path}:1:2\n  |\n1 | [locl.l]\n  |  \
             ^^^^\n  = help: did you mean \"local\"? allowed are name, local, unicast, broadcast, \
             eth-llc, eth-dix, udp4, udp6\n\n{path}: 1 error\n"
        )
    );

    // Without a file: that of --config.
    let output = Command::new(irmd())
        .arg("--config")
        .arg(good.path())
        .arg("--check-config")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("1 name, 1 IPCP"));
}
