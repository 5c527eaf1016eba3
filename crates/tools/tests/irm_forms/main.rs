//! Every form of `irm` in the specification (`spec/irm-tools.md` §7), written out and abbreviated:
//! output and exit status are the same, and as the table says.

#[path = "../common/mod.rs"]
mod common;
mod steps;

use std::{
    fs::{self, File},
    process::{Command, Stdio},
};

use common::{Net, run_in, scripted, tool};
use o7s::{
    ErrorKind,
    control::{Body, Failure, IpcpInfo, IpcpList, IpcpType, NameInfo, NameList},
};
use o7s_tools::irm::grammar::{GROUPS, OTHERS};
use steps::STEPS;

const IPCP_RULE: &str = "+---------+----------------------+------------+----------------------+\n";
const IPCP_HEAD: &str = "|     pid |                 name |       type |                layer |\n";
const NAME_RULE: &str =
    "+----------------------------------------------------+----------------------+\n";

/// What a command leaves behind.
enum Leaves {
    /// Status 0; this output.
    Output(&'static str),
    /// Status 0; a table of these IPCPs: name and layer.
    Ipcps(&'static [(&'static str, &'static str)]),
    /// Status 0; a table of these names with their policies.
    Names(&'static [(&'static str, &'static str)]),
    /// Status 1, no output; complaints that begin so.
    Complaint(&'static str),
    /// Status 0 and complaints.
    Warning(&'static str),
}
use Leaves::{Complaint, Ipcps, Names, Output, Warning};

/// The rows with a fixed text instead of pids.
fn without_pids(text: &str) -> String {
    text.lines()
        .map(|line| {
            match line
                .strip_prefix("| ")
                .and_then(|rest| rest.split_once(" | "))
            {
                Some((pid, rest)) if pid.trim().bytes().all(|byte| byte.is_ascii_digit()) => {
                    assert_eq!(pid.len(), 7, "{line}");
                    format!("| PID | {rest}\n")
                }
                _ => format!("{line}\n"),
            }
        })
        .collect()
}

impl Leaves {
    fn check(&self, line: &str, ran: &common::Ran, fill: impl Fn(&str) -> String) {
        let common::Ran { code, out, err } = ran;
        let failed = matches!(self, Complaint(_));
        assert_eq!(*code, Some(i32::from(failed)), "{line}: {ran:?}");
        let expected = match self {
            Output(text) => (*text).to_owned(),
            Complaint(_) | Warning(_) => String::new(),
            Ipcps(rows) => {
                let rows: String = rows
                    .iter()
                    .map(|(name, layer)| {
                        format!("| PID | {name:>20} |      local | {layer:>20} |\n")
                    })
                    .collect();
                [IPCP_RULE, IPCP_HEAD, IPCP_RULE, &rows, IPCP_RULE, "\n"].concat()
            }
            Names(rows) => {
                let row =
                    |(name, policy): &(&str, &str)| format!("| {name:>50} | {policy:>20} |\n");
                let head = row(&("name", "load-balance policy"));
                let rows: String = rows.iter().map(row).collect();
                [NAME_RULE, &head, NAME_RULE, &rows, NAME_RULE].concat()
            }
        };
        assert_eq!(without_pids(out), expected, "{line}");
        match self {
            Complaint(start) | Warning(start) => {
                assert!(err.starts_with(&fill(start)), "{line}: {err}");
                assert!(err.ends_with('\n'), "{line}: {err:?}");
            }
            _ => assert_eq!(err, "", "{line}"),
        }
    }
}

/// All steps, with the words that `form` chooses.
fn all_steps(form: impl Fn(&(&'static str, &'static str, Leaves)) -> &'static str) {
    let net = Net::new();
    let node = net.node();
    let dir = net.dir().join("files");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("key.pem"), "").unwrap();
    let fill = |text: &str| {
        text.replace("{prog}", &tool("oecho").display().to_string())
            .replace("{dir}", &dir.display().to_string())
            .replace("{self}", &std::process::id().to_string())
    };
    for step in STEPS {
        let line = fill(form(step));
        step.2.check(&line, &net.irm(&line), fill);
    }
    drop(node);
}

#[test]
fn every_form_written_out() {
    all_steps(|(long, _, _)| long);
}

#[test]
fn every_form_abbreviated() {
    all_steps(|(_, short, _)| short);
}

/// A refusal of a scripted daemon.
fn refusal() -> Body {
    Body::Failure(Failure {
        errno: ErrorKind::Ipcp.errno(),
        message: "no such luck".to_owned(),
    })
}

/// One form of every operation that asks the daemon for something.
const REQUESTS: &[&str] = &[
    "ipcp create type local name x",
    "ipcp destroy name a",
    "ipcp bootstrap type local name x layer l",
    "ipcp bootstrap name a layer l",
    "ipcp bootstrap name u layer l autobind",
    "ipcp enroll name u dst d",
    "ipcp enroll name x layer l",
    "ipcp connect name u dst d",
    "ipcp disconnect name u dst d",
    "ipcp list",
    "ipcp show name u",
    "bind program {prog} name n",
    "bind process {self} name n",
    "bind ipcp a name n",
    "unbind program p name n",
    "unbind program p",
    "unbind process 1 name n",
    "unbind ipcp a name n",
    "unbind ipcp a",
    "name create n",
    "name destroy n",
    "name register n layer *",
    "name register n ipcp a",
    "name unregister n layer *",
    "name list",
    "status",
];

/// Whatever the daemon refuses, the status is 1 and the reason is shown.
#[test]
fn no_failure_is_silent_or_a_success() {
    let ipcp = |pid, kind: IpcpType, name: &str| IpcpInfo {
        pid,
        ipcp_type: kind.into(),
        name: name.to_owned(),
        layer: "lan".to_owned(),
        ..IpcpInfo::default()
    };
    for line in REQUESTS {
        let line = line
            .replace("{prog}", &tool("oecho").display().to_string())
            .replace("{self}", &std::process::id().to_string());
        // Everything is refused, or everything but lists.
        let asks_for_lists = ["ipcp list", "name list"].contains(&line.as_str());
        for lists in [false, true] {
            if lists && asks_for_lists {
                continue;
            }
            let ipcps = vec![
                ipcp(7, IpcpType::Local, "a"),
                ipcp(8, IpcpType::Unicast, "u"),
            ];
            let (ran, _) = scripted::run(&line, move |body| match body {
                Body::ListIpcps(_) if lists => Body::Ipcps(IpcpList {
                    ipcps: ipcps.clone(),
                    ..IpcpList::default()
                }),
                Body::ListNames(_) if lists => Body::Names(NameList {
                    names: vec![NameInfo::default()],
                }),
                _ => refusal(),
            });
            let error = ran.failed(1);
            assert!(error.contains("no such luck"), "{line}: {error}");
        }
    }
}

/// Every beginning of every command is a command, or is refused with a text.
#[test]
fn no_part_of_a_command_fails_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines: Vec<&str> = STEPS.iter().map(|(long, _, _)| *long).collect();
    lines.extend(REQUESTS);
    let mut parts: Vec<String> = lines
        .iter()
        .flat_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (1..=words.len()).map(move |length| words[..length].join(" "))
        })
        .collect();
    parts.sort();
    parts.dedup();
    assert!(parts.len() > 150, "{parts:?}");
    for part in parts {
        // No daemon runs here, so none of them succeeds.
        let error = run_in(dir.path(), "irm", &part).failed(1);
        assert!(error.ends_with('\n') && error.len() > 10, "{part}: {error}");
    }
    let usage = run_in(dir.path(), "irm", "");
    assert_eq!((usage.code, usage.err.as_str()), (Some(255), ""));
    assert!(usage.out.starts_with("Usage: irm "));
}

/// Help for everything, without a daemon.
#[test]
fn help_is_there_for_every_operation() {
    let dir = tempfile::tempdir().unwrap();
    let irm = |line: &str| run_in(dir.path(), "irm", line);
    assert_eq!(irm("help").ok(), irm("h").ok());
    assert_eq!(irm("help").ok(), irm("--help").ok());
    assert_eq!(OTHERS[0].0, "help");
    for group in GROUPS {
        let help = irm(&format!("{} help", group.word)).ok();
        assert_eq!(help, irm(&format!("help {}", group.word)).ok());
        for operation in group.operations {
            assert!(help.contains(operation.word), "{help}");
            let own = irm(&format!("{} {} --help", group.word, operation.word)).ok();
            assert!(own.starts_with(&format!("Usage: irm {} {}", group.word, operation.word)));
            for option in operation.options {
                assert!(own.contains(option.word), "{own}");
            }
        }
    }
}

/// A list that cannot be written has failed.
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let net = Net::new();
    for (stdout, expected) in [
        (
            Stdio::from(File::options().write(true).open("/dev/full").unwrap()),
            "No space left on device",
        ),
        (
            {
                let (reader, writer) = std::io::pipe().unwrap();
                drop(reader);
                Stdio::from(writer)
            },
            "Broken pipe",
        ),
    ] {
        let output = Command::new(tool("irm"))
            .args(["ipcp", "list"])
            .env(o7s::runtime::ENV, net.dir())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}
