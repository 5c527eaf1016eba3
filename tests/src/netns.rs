//! Network namespaces with Ethernet between them, for tests of layers on networks.
//!
//! A namespace lives in a process that waits for the end of its input, so nothing is left when a
//! test is killed. Root's rights are needed: see [`why_not`].

use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Why this process can have no namespaces; none if it can.
#[must_use]
pub fn why_not() -> Option<String> {
    let works = Command::new("unshare")
        .args(["-n", "true"])
        .stderr(Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        return Some("network namespaces need root's rights and 'unshare' of util-linux".into());
    }
    let ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
    if ip.is_err() {
        return Some("networks need the command 'ip': install iproute2".into());
    }
    None
}

/// Says that a test is skipped and returns true if there can be no namespaces.
#[must_use]
pub fn skipped(test: &str) -> bool {
    let why = why_not();
    if let Some(why) = &why {
        eprintln!("{test} is skipped: {why}");
    }
    why.is_some()
}

/// A network namespace. It is gone with the value.
#[derive(Debug)]
pub struct Netns {
    holder: Child,
}

impl Netns {
    /// A namespace with nothing but a loopback device, which is up.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn new() -> Self {
        // 'cat' answers once it runs, and so the namespace is there; it ends with its input.
        let mut holder = Command::new("unshare")
            .args(["-n", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a namespace is made");
        let (stdin, stdout) = (holder.stdin.as_mut(), holder.stdout.as_mut());
        std::io::Write::write_all(stdin.expect("a pipe"), b"x").expect("the holder lives");
        let mut answer = [0];
        std::io::Read::read_exact(stdout.expect("a pipe"), &mut answer).expect("it answers");
        let made = Self { holder };
        made.ip("link set lo up");
        made
    }

    /// The words that start a program in the namespace.
    #[must_use]
    pub fn prefix(&self) -> [String; 4] {
        let pid = self.holder.id().to_string();
        ["nsenter".into(), "-t".into(), pid, "-n".into()]
    }

    /// A command that runs in the namespace.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let [enter, rest @ ..] = self.prefix();
        let mut command = Command::new(enter);
        command.args(rest).arg(program);
        command
    }

    /// Does something in a thread that is in the namespace: sockets that it opens stay there.
    ///
    /// # Panics
    /// If the namespace cannot be entered, or `work` panics.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.holder.id());
        let netns = std::fs::File::open(path).expect("the holder lives");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&netns), kind)
                    .expect("the namespace can be entered");
                work()
            });
            thread.join().expect("the work is done")
        })
    }

    /// Runs `ip` with these words in the namespace.
    ///
    /// # Panics
    /// If it fails.
    pub fn ip(&self, words: &str) {
        let status = self.command("ip").args(words.split_whitespace()).status();
        let well = status.is_ok_and(|status| status.success());
        assert!(well, "ip {words}");
    }

    /// A cable: `device` here and `peer_device` there, both up.
    ///
    /// # Panics
    /// If that fails.
    pub fn cable(&self, device: &str, peer: &Self, peer_device: &str, mtu: u32) {
        let there = peer.holder.id();
        self.ip(&format!(
            "link add {device} mtu {mtu} type veth peer name {peer_device} mtu {mtu} netns {there}"
        ));
        for (netns, device) in [(self, device), (peer, peer_device)] {
            // Without addresses of IPv6 nothing is sent that a test did not send.
            netns.ip(&format!("link set {device} addrgenmode none up"));
        }
    }

    /// Gives a device an address such as `10.0.0.1/24`.
    ///
    /// # Panics
    /// If that fails.
    pub fn address(&self, device: &str, address: &str) {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("addr add {address} dev {device}{nodad}"));
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_cross_a_cable() {
        if skipped("packets_cross_a_cable") {
            return;
        }
        let (a, b) = (Netns::new(), Netns::new());
        a.cable("eth0", &b, "eth0", 1500);
        a.address("eth0", "10.9.0.1/24");
        b.address("eth0", "10.9.0.2/24");
        let routes = a.command("ip").arg("route").output().unwrap();
        assert!(String::from_utf8_lossy(&routes.stdout).contains("10.9.0.0/24"));
    }
}
