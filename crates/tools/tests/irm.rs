//! `irm` against a real daemon: what it does, prints and refuses.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use common::{Net, run_in, tool};
use serde_json::{Value, json};

const IPCP_RULE: &str = "+---------+----------------------+------------+----------------------+";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The commands of the documentation, and what the lists show then.
#[test]
fn the_documented_commands() {
    let net = Net::new();
    assert_eq!(net.irm("ipcp list").ok(), "No IPCPs in system.\n\n");
    assert_eq!(net.irm("name list").ok(), "No names in system.\n\n");
    assert_eq!(net.irm("ipcp list --json").ok(), "[]\n");

    assert_eq!(net.irm("i b t local n local l local").ok(), "");
    assert_eq!(net.irm("n r oecho l local").ok(), "");
    let program = tool("oecho").display().to_string();
    assert_eq!(net.irm(&format!("b prog {program} n oecho")).ok(), "");

    let pid = net.management().list_ipcps().unwrap()[0].pid;
    assert_eq!(
        net.irm("ipcp list").ok(),
        format!(
            "{IPCP_RULE}\n\
             |     pid |                 name |       type |                layer |\n\
             {IPCP_RULE}\n\
             | {pid:7} |                local |      local |                local |\n\
             {IPCP_RULE}\n\n"
        )
    );
    assert_eq!(
        parsed(&net.irm("--json i l").ok()),
        json!([{"pid": pid, "name": "local", "type": "local", "state": "operational",
                "layer": "local", "hash": "SHA3_256", "waits": null}])
    );
    let names = net.irm("name list").ok();
    let row = format!("| {:>50} | {:>20} |", "oecho", "spillover");
    assert!(names.lines().any(|line| line == row), "{names}");
    assert_eq!(
        parsed(&net.irm("name list --json").ok()),
        json!([{"name": "oecho", "policy": "spillover", "programs": ["oecho"],
                "processes": [], "server": null, "client": null}])
    );

    let status = parsed(&net.irm("status --json").ok());
    assert_eq!(status["daemon_pid"], net.daemon.pid());
    assert_eq!(
        (&status["ipcps"], &status["names"], &status["programs"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert!(
        net.irm("s")
            .ok()
            .contains("names                       1\n")
    );

    // And back.
    net.irm("u prog oecho n oecho").ok();
    net.irm("n u oecho l local").ok();
    net.irm("n d oecho").ok();
    net.irm("i d n local").ok();
    assert_eq!(net.irm("n l").ok(), "No names in system.\n\n");
    assert_eq!(net.irm("i l").ok(), "No IPCPs in system.\n\n");
}

#[test]
fn filters_and_patterns() {
    let net = Net::new();
    net.irm("i c t local n spare").ok();
    net.irm("i b t local n one l lan1").ok();
    net.irm("i b t local n two l lan2 hash SHA3_512").ok();
    let names_of = |line: &str| -> Vec<String> {
        let rows = parsed(&net.irm(line).ok());
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names_of("i l --json l lan*"), ["one", "two"]);
    assert_eq!(names_of("i l --json n *o* t local"), ["one", "two"]);
    assert_eq!(names_of("i l --json n spare"), ["spare"]);
    assert_eq!(net.irm("i l t udp4").ok(), "No IPCPs match.\n\n");
    assert!(
        net.irm("i l n spare")
            .ok()
            .contains("|        Not enrolled. |")
    );
    let two = parsed(&net.irm("i l n two --json").ok());
    assert_eq!(two[0]["hash"], "SHA3_512");

    // The layers of a pattern, each once, and not the IPCP without a layer.
    net.irm("n r web l * l lan* ipcp two").ok();
    net.irm("n c web2 lb round-robin").ok();
    net.irm("n c mail").ok();
    assert_eq!(names_of("n l --json web"), ["web", "web2"]);
    assert_eq!(names_of("n l --json *2"), ["web2"]);
    assert_eq!(names_of("n l --json l ma"), ["mail"]);
    assert_eq!(net.irm("n l x").ok(), "No names match.\n\n");
    net.irm("n u web l lan*").ok();

    // An IPCP that exists is used, by its name or a pattern.
    net.irm("i b n sp* l lan3").ok();
    assert_eq!(names_of("i l l lan3 --json"), ["spare"]);
}

/// Trap 19: what failed in silence, or succeeded in silence, says so.
#[test]
fn every_failure_is_told() {
    let net = Net::new();
    for (line, expected) in [
        (
            "n r oecho l local",
            "Failed to list IPCPs.\nNo IPCPs in system",
        ),
        (
            "i b n none l x",
            "No IPCPs matching none found.\nGive its type",
        ),
        ("i b t local n no* l x", "No IPCPs matching no* found."),
        ("n d none", "this irmd has no name \"none\""),
    ] {
        let error = net.irm(line).failed(1);
        assert!(error.starts_with(expected), "{line}: {error}");
    }
    net.irm("i b t local n local l lan").ok();
    net.irm("n c known").ok();
    for (line, expected) in [
        (
            "i d n locl",
            "There is no IPCP named \"locl\", try \"irm ipcp list\".\nDid you mean \"local\"?",
        ),
        ("b ipcp none n x", "There is no IPCP named \"none\""),
        ("u ipcp none n x", "There is no IPCP named \"none\""),
        ("i co n none d x", "There is no IPCP named \"none\""),
        (
            "i co n local d x",
            "Failed to connect Management to x.\nIPCP local is of type local, which has no neighbours",
        ),
        (
            "i di n local d x c dt",
            "Failed to disconnect Data Transfer from x.\n",
        ),
        ("i co n local d x c foo", "There is no component \"foo\""),
        (
            "n r known l la",
            "There is no layer \"la\" here, try \"irm ipcp list\".\nDid you mean \"lan\"?",
        ),
        ("n u none l lan", "Failed to unregister from lan.\n"),
        (
            "n c known lb spillover",
            "the name \"known\" exists with other attributes",
        ),
        (
            "n c new skeypath /nowhere/key",
            "Failed to check path /nowhere/key: No such file",
        ),
        (
            "i c t local n local",
            "there is an IPCP named local already",
        ),
        (
            "i b t unicast n local l x",
            "Types do not match.\nThe IPCP local is of type local.",
        ),
        (
            "i b t local n local l x",
            "Failed to bootstrap IPCP local in layer x.\n",
        ),
        ("b proc 1 n x", "cannot bind process 1"),
        ("u prog none", "program none is not bound"),
        ("b prog ./none n x", "./none does not exist."),
        (
            "b prog o7s-none n x",
            "o7s-none does not exist.\nIt is neither",
        ),
        (
            "b prog /etc/passwd n x",
            "Cannot execute /etc/passwd, please check permissions.",
        ),
        ("foo", "\"foo\" is unknown, try \"irm help\"."),
        (
            "ipcp",
            "\"irm ipcp\" needs an operation.\n\nUsage: irm ipcp",
        ),
    ] {
        let error = net.irm(line).failed(1);
        assert!(error.starts_with(expected), "{line}: {error}");
    }
    // A process that is gone.
    let mut child = Command::new(tool("irm"))
        .arg("--version")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let error = net.irm(&format!("b proc {pid} n x")).failed(1);
    assert!(
        error.starts_with(&format!("\"{pid}\" is not a valid process id.")),
        "{error}"
    );
    // Nothing of it was made.
    let status = net.management().status().unwrap();
    assert_eq!((status.ipcps, status.names), (1, 1));
}

/// An IPCP that was made for a command that failed goes with it.
#[test]
fn layers_that_cannot_be_joined_leave_nothing_behind() {
    let net = Net::new();
    for line in [
        "i b t eth-dix n x l eth dev o7s-none ethertype A007",
        "i b t eth-llc n x l eth dev o7s-none",
        "i b t udp4 n x l udp ip 192.0.2.1",
        "i e n x l lan autobind",
        "i e n x t broadcast d y",
    ] {
        let error = net.irm(line).failed(1);
        assert!(error.len() > 20, "{line}: {error}");
    }
    assert_eq!(net.irm("i l").ok(), "No IPCPs in system.\n\n");
}

#[test]
fn doubtful_options_are_told_and_the_command_goes_on() {
    let net = Net::new();
    let ran = net.irm("i b t local n a l lan dev eth0 ttl 4 autobind");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(
        ran.err,
        "No option of type local, ignored: device, ttl.\n\
         Can not bind this IPCP type,autobind disabled.\n"
    );
    assert_eq!(net.management().list_ipcps().unwrap()[0].layer, "lan");
}

#[test]
fn names_keep_their_security_files() {
    let net = Net::new();
    let file = net.dir().join("key.pem");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let given = net.dir().join("../").join(net.dir().file_name().unwrap());
    net.irm(&format!("n c n skey {}/key.pem", given.display()))
        .ok();
    let names = parsed(&net.irm("n l --json").ok());
    let full = file.canonicalize().unwrap();
    assert_eq!(names[0]["server"]["key"], full.to_str().unwrap());
    assert_eq!(names[0]["server"]["certificate"], Value::Null);
    assert_eq!(names[0]["client"], Value::Null);
}

#[test]
fn without_a_daemon_every_command_says_so() {
    let dir = tempfile::tempdir().unwrap();
    for line in [
        "i l",
        "n l",
        "s",
        "i c t local n x",
        "i d n x",
        "i b t local n x l y",
        "i e n x l y",
        "i co n x d y",
        "i di n x d y",
        "b prog sh n x",
        "b ipcp x n y",
        "u prog x",
        "u proc 1",
        "u ipcp x",
        "n c x",
        "n d x",
        "n r x l y",
        "n u x l y",
    ] {
        let error = run_in(dir.path(), "irm", line).failed(1);
        assert!(
            error.contains(
                "Failed to communicate with the Ouroboros IPC Resource Manager daemon.\n\
                 no irmd is running for this user"
            ),
            "{line}: {error}"
        );
        assert!(error.contains("start one with 'irmd'"), "{line}: {error}");
    }
    // Help, version and completion need none.
    let usage = run_in(dir.path(), "irm", "");
    assert_eq!((usage.code, usage.err.as_str()), (Some(255), ""));
    assert!(usage.out.starts_with("Usage: irm "));
    for line in [
        "help",
        "--help",
        "ipcp help",
        "i b --help",
        "--version",
        "completions zsh",
    ] {
        assert!(!run_in(dir.path(), "irm", line).ok().is_empty(), "{line}");
    }
    assert_eq!(run_in(dir.path(), "irm", "__complete n r ''").ok(), "");
    assert_eq!(
        run_in(dir.path(), "irm", "__complete i b ro").ok(),
        "routing\n"
    );
}

#[test]
fn completion_knows_what_is_there() {
    let net = Net::new();
    net.irm("i b t local n loc1 l lan").ok();
    net.irm("n c oecho").ok();
    assert_eq!(net.irm("__complete n r oecho layer ''").ok(), "lan\n");
    assert_eq!(net.irm("__complete n r o").ok(), "oecho\n");
    assert_eq!(net.irm("__complete i d name ''").ok(), "loc1\n");

    // The same through bash.
    let script = format!(
        "source <('{irm}' completions bash)\n\
         COMP_WORDS=('{irm}' n r oecho l ''); COMP_CWORD=5; _irm '{irm}'\n\
         printf '%s,' \"${{COMPREPLY[@]}}\"",
        irm = tool("irm").display()
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .env(o7s::runtime::ENV, net.dir())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "lan,",
        "{output:?}"
    );
}
