//! What exists once per process: identity, flow descriptor numbers, nodes; and what `fork` means.
//!
//! The child of a `fork` is a new process with no flows. It gets a fresh [`Process`]; flows and
//! nodes of the parent remember the [`generation`] in which they were made and refuse to work.

use std::{
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    ptr,
    sync::{
        Mutex, MutexGuard, Once, PoisonError, Weak,
        atomic::{AtomicPtr, AtomicU32, Ordering},
    },
};

use crate::{
    DirHash, Result, RuntimeDir,
    doorbell::Doorbells,
    node::{Node, NodeInner},
    service::Service,
};

/// Lowest flow descriptor number (`spec/api.md` A5).
const FIRST_NUMBER: i32 = 64;

/// How often this process has been forked off since its oldest ancestor with this library.
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// The state of this process; null until it is needed and again in a forked child.
static PROCESS: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());
static FORK_HANDLER: Once = Once::new();

/// State of this process. Never freed.
pub(crate) struct Process {
    /// Random number that tells this copy of the library from others under the same pid.
    pub(crate) instance: u64,
    /// Equal in all copies of the library in this process, and different after `exec`.
    pub(crate) image: u64,
    numbers: Mutex<Numbers>,
    nodes: Mutex<HashMap<PathBuf, Weak<NodeInner>>>,
    current: Mutex<Current>,
    doorbells: Mutex<Option<&'static Doorbells>>,
    service: Mutex<Option<&'static Service>>,
}

/// The node of the free functions.
#[derive(Default)]
struct Current {
    chosen: Option<Node>,
    of_environment: Option<Node>,
}

/// Free flow descriptor numbers, lowest first.
struct Numbers {
    next: i32,
    free: BTreeSet<i32>,
}

/// Counts forks; equal numbers mean the same process.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Runs in a new child, before `fork` returns there. Atomics only.
extern "C" fn forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    PROCESS.store(ptr::null_mut(), Ordering::Release);
}

/// The state of this process.
pub(crate) fn process() -> &'static Process {
    FORK_HANDLER.call_once(|| {
        // SAFETY: the handler is a plain function that touches atomics only; registering it has no
        // other precondition. On failure (no memory) forked children are merely not told apart.
        unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    });
    let mut current = PROCESS.load(Ordering::Acquire);
    if current.is_null() {
        let fresh = Box::into_raw(Box::new(Process::new()));
        let won =
            PROCESS.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
        current = match won {
            Ok(_) => fresh,
            Err(theirs) => {
                // SAFETY: `fresh` came from `Box::into_raw` above and was not published.
                drop(unsafe { Box::from_raw(fresh) });
                theirs
            }
        };
    }
    // SAFETY: a published pointer comes from `Box::into_raw` and is never freed.
    unsafe { &*current }
}

/// Locks, whatever happened to a thread that held the lock: no state here is left half-changed.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all copies of the library in this process image see alike, and no other image: from the
/// random bytes that the kernel gives to each `exec`. They also feed the stack protector, so only a
/// hash of them may leave the process. 0 if there are none.
fn image() -> u64 {
    // SAFETY: `getauxval` has no precondition.
    let address = unsafe { libc::getauxval(libc::AT_RANDOM) };
    if address == 0 {
        return 0;
    }
    let random = std::ptr::with_exposed_provenance::<[u8; 16]>(address as usize);
    // SAFETY: the kernel put 16 bytes there, and they stay as long as the process.
    let hash = DirHash::Sha3_256.digest(unsafe { &*random });
    let bytes = hash.as_bytes().first_chunk();
    bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

impl Process {
    fn new() -> Self {
        let mut random = [0; 8];
        if rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).is_err() {
            // Early boot at worst; pid and time are different enough between two images.
            let now = std::time::UNIX_EPOCH
                .elapsed()
                .map_or(0, |elapsed| elapsed.as_nanos());
            random = (now as u64 ^ u64::from(std::process::id()) << 40).to_ne_bytes();
        }
        Self {
            instance: u64::from_ne_bytes(random),
            image: image(),
            numbers: Mutex::new(Numbers {
                next: FIRST_NUMBER,
                free: BTreeSet::new(),
            }),
            nodes: Mutex::default(),
            current: Mutex::default(),
            doorbells: Mutex::new(None),
            service: Mutex::new(None),
        }
    }

    /// The lowest free flow descriptor number.
    pub(crate) fn take_number(&self) -> i32 {
        let mut numbers = lock(&self.numbers);
        numbers.free.pop_first().unwrap_or_else(|| {
            numbers.next += 1;
            numbers.next - 1
        })
    }

    /// Gives a number back.
    pub(crate) fn give_number(&self, number: i32) {
        lock(&self.numbers).free.insert(number);
    }

    /// The doorbells of this process.
    pub(crate) fn doorbells(&self) -> Result<&'static Doorbells> {
        let mut doorbells = lock(&self.doorbells);
        match *doorbells {
            Some(doorbells) => Ok(doorbells),
            None => {
                let made = Box::leak(Box::new(Doorbells::new()?));
                *doorbells = Some(made);
                Ok(made)
            }
        }
    }

    /// The service of this process.
    pub(crate) fn service(&self) -> Result<&'static Service> {
        let mut service = lock(&self.service);
        match *service {
            Some(service) => Ok(service),
            None => {
                let made = Box::leak(Box::new(Service::new(self.doorbells()?)?));
                *service = Some(made);
                Ok(made)
            }
        }
    }

    /// The node for `dir`: one per directory.
    pub(crate) fn node(&self, dir: RuntimeDir) -> Node {
        let mut nodes = lock(&self.nodes);
        if let Some(inner) = nodes.get(dir.path()).and_then(Weak::upgrade) {
            return Node::from_inner(inner);
        }
        nodes.retain(|_, inner| inner.strong_count() > 0);
        let node = Node::new(dir);
        nodes.insert(node.dir().path().to_owned(), node.downgrade());
        node
    }

    /// The node of the free functions.
    pub(crate) fn current_node(&self) -> Node {
        let mut current = lock(&self.current);
        if let Some(chosen) = &current.chosen {
            return chosen.clone();
        }
        let dir = RuntimeDir::from_env();
        match &current.of_environment {
            Some(node) if *node.dir() == dir => node.clone(),
            _ => {
                let node = self.node(dir);
                current.of_environment = Some(node.clone());
                node
            }
        }
    }

    /// Chooses the node of the free functions; none = that of the environment.
    pub(crate) fn choose_node(&self, node: Option<&Node>) {
        let mut current = lock(&self.current);
        current.chosen = node.cloned();
        current.of_environment = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_from_64() {
        let process = Process::new();
        let taken: Vec<i32> = (0..3).map(|_| process.take_number()).collect();
        assert_eq!(taken, [64, 65, 66]);
        process.give_number(65);
        process.give_number(64);
        assert_eq!(process.take_number(), 64);
        assert_eq!(process.take_number(), 65);
        assert_eq!(process.take_number(), 67);
    }
}
