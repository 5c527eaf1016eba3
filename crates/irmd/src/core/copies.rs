//! Copies of the library in one process: the tables know each copy as a process of its own.
//!
//! A C program may load a Python module that brings its own copy of the library. Each copy has its
//! connections, doorbells and flows; to users they are one process. A copy's key is the pid with the
//! copy's number above it, so that the first copy's key is the pid itself.

use super::Core;

/// Bits of a pid (`PID_MAX_LIMIT` of Linux is 2^22).
const PID_BITS: u32 = 22;
/// Copies of the library that one process may have.
pub(super) const COPIES: i32 = 16;

/// The greatest pid.
pub(super) const PID_MAX: i32 = (1 << PID_BITS) - 1;

/// The key of a process' copy number `number`.
pub(super) fn key(pid: i32, number: i32) -> i32 {
    pid | number << PID_BITS
}

/// The pid of a key.
#[must_use]
pub fn pid_of(key: i32) -> i32 {
    key & PID_MAX
}

impl Core {
    /// The keys of a process' copies, and of an IPCP with this pid.
    pub(super) fn copies(&self, pid: i32) -> Vec<i32> {
        (0..COPIES)
            .map(|number| key(pid, number))
            .filter(|key| self.processes.contains_key(key) || self.ipcps.contains_key(key))
            .collect()
    }

    /// The names that a process is bound to, whichever copy.
    pub(super) fn names_of_pid(&self, pid: i32) -> Vec<String> {
        let copies = self.copies(pid);
        let mut names: Vec<String> = copies
            .iter()
            .flat_map(|key| self.names.of_process(*key))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_copies_are_different_and_keep_the_pid() {
        for pid in [1, PID_MAX] {
            assert_eq!(key(pid, 0), pid);
            let mut keys: Vec<i32> = (0..COPIES).map(|number| key(pid, number)).collect();
            assert!(keys.iter().all(|key| *key > 0 && pid_of(*key) == pid));
            keys.dedup();
            assert_eq!(keys.len(), COPIES as usize);
        }
    }
}
