//! Who may do what.
//!
//! Management is for the daemon's owner, root, and members of the group `ouroboros`. Everybody who
//! can connect may use flows, and bind his own processes.

use o7s::{Error, ErrorKind, Result};

/// The group whose members may manage a daemon.
pub const GROUP: &str = "ouroboros";

/// The process at the other end of a connection, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Member of the group `ouroboros`.
    pub in_group: bool,
}

/// The rules, for one daemon.
#[derive(Debug, Clone, Copy)]
pub struct Trust {
    /// User whose daemon this is.
    pub owner: u32,
}

impl Trust {
    /// Root or the daemon's owner.
    #[must_use]
    pub fn owns(self, peer: &Peer) -> bool {
        peer.uid == 0 || peer.uid == self.owner
    }

    /// Owner, root or member of the group.
    #[must_use]
    pub fn manages(self, peer: &Peer) -> bool {
        self.owns(peer) || peer.in_group
    }

    /// Fails unless `peer` may manage.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`], which says who may.
    pub fn check_manages(self, peer: &Peer) -> Result<()> {
        if self.manages(peer) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Permission,
            format!(
                "user {} may not manage this irmd; user {}, root and members of the group \
                 '{GROUP}' may; or start an irmd of your own",
                peer.uid, self.owner
            ),
        ))
    }

    /// Fails unless `peer` may bind a process of user `uid`.
    ///
    /// # Errors
    /// [`ErrorKind::Permission`], which says who may.
    pub fn check_binds(self, peer: &Peer, pid: i32, uid: u32) -> Result<()> {
        if peer.uid == uid || self.owns(peer) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Permission,
            format!(
                "user {} may not bind process {pid} of user {uid}; user {uid}, user {} and root may",
                peer.uid, self.owner
            ),
        ))
    }

    /// Whether processes of the two may share a segment without a layer between them.
    #[must_use]
    pub fn may_share(self, one: &Peer, other: &Peer) -> bool {
        let privileged = |peer: &Peer| peer.uid == 0 || peer.in_group;
        one.uid == other.uid || privileged(one) && privileged(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, in_group: bool) -> Peer {
        Peer {
            pid: 9,
            uid,
            gid: uid,
            in_group,
        }
    }

    #[test]
    fn who_manages_and_who_binds() {
        let trust = Trust { owner: 1000 };
        assert!(trust.check_manages(&peer(1000, false)).is_ok());
        assert!(trust.check_manages(&peer(0, false)).is_ok());
        assert!(trust.check_manages(&peer(7, true)).is_ok());
        let refusal = trust.check_manages(&peer(7, false)).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Permission);
        assert!(refusal.to_string().contains("user 1000"), "{refusal}");

        assert!(trust.check_binds(&peer(7, false), 5, 7).is_ok());
        assert!(trust.check_binds(&peer(1000, false), 5, 7).is_ok());
        assert!(trust.check_binds(&peer(0, false), 5, 7).is_ok());
        let refusal = trust.check_binds(&peer(7, true), 5, 8).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::Permission);
    }

    #[test]
    fn who_shares_memory() {
        let trust = Trust { owner: 0 };
        assert!(trust.may_share(&peer(7, false), &peer(7, false)));
        assert!(trust.may_share(&peer(7, true), &peer(0, false)));
        assert!(!trust.may_share(&peer(7, false), &peer(0, false)));
        assert!(!trust.may_share(&peer(7, false), &peer(8, false)));
    }
}
