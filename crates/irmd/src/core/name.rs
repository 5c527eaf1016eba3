//! Names with their attributes and bindings, programs, and the requests and acceptors that meet at
//! a name (`spec/irm-tools.md` §4.2, §4.3, §5.5).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use o7s::{
    DirHash, Error, ErrorKind, Result,
    control::{Balance, NameInfo, NameList},
};
use o7s_wire::hash::{ALL, NameHash};

use super::{autostart::Auto, autostart::Starter, copies::pid_of, limits, request::Key};

/// A name.
#[derive(Debug)]
pub(super) struct Entry {
    /// Attributes; the lists in it stay empty.
    pub info: NameInfo,
    /// Who created it.
    pub owner: u32,
    /// Bound processes, by their keys, and IPCPs.
    pub processes: BTreeSet<i32>,
    /// Bound programs by base name.
    pub programs: BTreeSet<String>,
    /// Programs to start, the newest binding last.
    pub autos: Vec<Auto>,
    pub starter: Starter,
    /// Flow requests that wait for an acceptor, oldest first.
    pub queue: BTreeSet<Key>,
    /// Accepts that wait for a request, oldest first.
    pub waiting: BTreeSet<Key>,
}

impl Entry {
    /// The waiting accepts in the order in which the balance policy takes them.
    pub(super) fn acceptors(&self) -> Vec<Key> {
        if self.info.balance == Balance::Spill as i32 {
            self.waiting.iter().rev().copied().collect()
        } else {
            self.waiting.iter().copied().collect()
        }
    }
}

/// All names.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    names: BTreeMap<String, Entry>,
    /// Names by their hash under every algorithm; lengths differ, so hashes of two never collide.
    hashes: HashMap<NameHash, String>,
    /// Names by bound program.
    programs: BTreeMap<String, BTreeSet<String>>,
}

impl NameTable {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.names.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.names.get_mut(name)
    }

    /// The name with this hash.
    pub(super) fn by_hash(&self, hash: &[u8]) -> Option<&str> {
        self.hashes
            .get(&NameHash::from_bytes(hash))
            .map(String::as_str)
    }

    /// Programs with bindings.
    pub(super) fn programs(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.programs
    }

    /// The names that a program is bound to.
    pub(super) fn of_program(&self, program: &str) -> Vec<String> {
        self.programs
            .get(program)
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Creates a name. With the same attributes as before it succeeds.
    pub(super) fn create(&mut self, mut info: NameInfo, owner: u32, limited: bool) -> Result<()> {
        info.processes.clear();
        info.programs.clear();
        if Balance::try_from(info.balance).is_err() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "unknown load balancing policy {}; use round-robin or spill",
                    info.balance
                ),
            ));
        }
        // Both forms say "the defaults".
        let server = info
            .server
            .take()
            .filter(|paths| *paths != Default::default());
        let client = info
            .client
            .take()
            .filter(|paths| *paths != Default::default());
        (info.server, info.client) = (server, client);
        if let Some(entry) = self.names.get(&info.name) {
            if entry.info == info {
                return Ok(());
            }
            return Err(Error::new(
                ErrorKind::Exists,
                format!(
                    "the name {:?} exists with other attributes; destroy it first with 'irm name \
                     destroy {}'",
                    info.name, info.name
                ),
            ));
        }
        let own = || self.names.values().filter(|entry| entry.owner == owner);
        if self.names.len() >= limits::NAMES || limited && own().count() >= limits::NAMES_PER_USER {
            return Err(Error::new(
                ErrorKind::NoMemory,
                format!(
                    "cannot create the name {:?}: there are too many names; destroy some",
                    info.name
                ),
            ));
        }
        for hash in ALL {
            let digest = DirHash::digest(hash, info.name.as_bytes());
            self.hashes.insert(digest, info.name.clone());
        }
        tracing::info!("Created new name: {}.", info.name);
        self.names.insert(
            info.name.clone(),
            Entry {
                info,
                owner,
                processes: BTreeSet::new(),
                programs: BTreeSet::new(),
                autos: Vec::new(),
                starter: Starter::default(),
                queue: BTreeSet::new(),
                waiting: BTreeSet::new(),
            },
        );
        Ok(())
    }

    /// Forgets a name and its bindings.
    pub(super) fn remove(&mut self, name: &str) -> Option<Entry> {
        let entry = self.names.remove(name)?;
        for hash in ALL {
            self.hashes.remove(&hash.digest(name.as_bytes()));
        }
        for program in &entry.programs {
            self.forget_binding(program, name);
        }
        tracing::info!("Destroyed name: {name}.");
        Some(entry)
    }

    /// Binds a program, by its base name, to a name.
    pub(super) fn bind_program(&mut self, base: &str, name: &str, auto: Option<Auto>) -> bool {
        let Some(entry) = self.names.get_mut(name) else {
            return false;
        };
        if !entry.programs.insert(base.to_owned()) {
            return false;
        }
        entry.autos.extend(auto);
        self.programs
            .entry(base.to_owned())
            .or_default()
            .insert(name.to_owned());
        true
    }

    /// Undoes it.
    pub(super) fn unbind_program(&mut self, base: &str, name: &str) -> bool {
        let Some(entry) = self.names.get_mut(name) else {
            return false;
        };
        entry.autos.retain(|auto| auto.base != base);
        let bound = entry.programs.remove(base);
        self.forget_binding(base, name);
        bound
    }

    fn forget_binding(&mut self, base: &str, name: &str) {
        if let Some(names) = self.programs.get_mut(base) {
            names.remove(name);
            if names.is_empty() {
                self.programs.remove(base);
            }
        }
    }

    /// Every name that a process is bound to.
    pub(super) fn of_process(&self, pid: i32) -> Vec<String> {
        self.names
            .iter()
            .filter(|(_, entry)| entry.processes.contains(&pid))
            .map(|(name, _)| name.clone())
            .collect()
    }

    pub(super) fn list(&self) -> NameList {
        let pids = |keys: &BTreeSet<i32>| keys.iter().copied().map(pid_of).collect::<BTreeSet<_>>();
        let names = self.names.values().map(|entry| NameInfo {
            processes: pids(&entry.processes).into_iter().collect(),
            programs: entry.programs.iter().cloned().collect(),
            ..entry.info.clone()
        });
        NameList {
            names: names.collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.names.values()
    }
}
