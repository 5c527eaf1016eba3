//! Who is at the other end of a connection: from the kernel, never from messages.

use std::{fs, io};

use tokio::net::UnixStream;

use crate::core::{Peer, trust::GROUP};

/// The gid of the group whose members may manage, if the system has it.
#[must_use]
pub fn managing_group() -> Option<u32> {
    gid_of(&fs::read_to_string("/etc/group").ok()?, GROUP)
}

/// Identifies the process that connected.
///
/// # Errors
/// What the system says.
pub fn identify(stream: &UnixStream, group: Option<u32>) -> io::Result<Peer> {
    let cred = stream.peer_cred()?;
    let pid = cred.pid().unwrap_or(0);
    let (uid, gid) = (cred.uid(), cred.gid());
    let in_group = group.is_some_and(|group| {
        gid == group
            || fs::read_to_string(format!("/proc/{pid}/status"))
                .is_ok_and(|status| has_group(&status, uid, group))
    });
    Ok(Peer {
        pid,
        uid,
        gid,
        in_group,
    })
}

/// The gid of a group in the text of `/etc/group`.
fn gid_of(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name)
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    })
}

/// Whether a process' status names the group, and still the user who connected: the pid may have
/// passed to somebody else's process.
fn has_group(status: &str, uid: u32, group: u32) -> bool {
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|word| word.parse::<u32>().ok())
            .collect::<Vec<_>>()
    };
    field("Uid:").first() == Some(&uid) && field("Groups:").contains(&group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_file_and_process_status() {
        let text = "root:x:0:\nouroboros:x:977:alice,bob\n";
        assert_eq!(gid_of(text, "ouroboros"), Some(977));
        assert_eq!(gid_of(text, "ouro"), None);
        assert_eq!(gid_of("ouroboros:x\n", "ouroboros"), None);

        let status = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nGroups:\t4 977 \n";
        assert!(has_group(status, 1000, 977));
        assert!(!has_group(status, 1001, 977));
        assert!(!has_group(status, 1000, 97));
        assert!(!has_group("", 0, 0));
    }
}
