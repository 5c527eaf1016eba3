//! `FlowSet` and `EventQueue`: waiting for many flows.
//!
//! The library knows flows; programs know their own `Flow` objects. A set keeps the objects of its
//! members, a queue those of its events, so that an event names the very object that was added.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::AsRawFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use o7s::{EventKind, FlowState};
use pyo3::{PyTraverseError, PyVisit, exceptions::PyValueError, prelude::*};
use rustix::process::{Pid, getpid};

use crate::{
    argument,
    error::{Doing, OrRaise, raise},
    flow::Flow,
    wait,
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A member of a set: the program's object and the flow that it stood for when it was added.
struct Member {
    object: Py<Flow>,
    flow: o7s::Flow,
}

impl Member {
    /// Whether the object still stands for that flow.
    fn is_current(&self) -> bool {
        self.object.get().is(&self.flow)
    }
}

/// Flows to wait for.
#[pyclass(frozen, subclass, weakref, module = "ouroboros._native")]
pub(crate) struct FlowSet {
    /// None once destroyed.
    set: Mutex<Option<Arc<o7s::FlowSet>>>,
    /// By flow descriptor.
    members: Mutex<HashMap<i32, Member>>,
    /// The process that made it.
    owner: Pid,
}

impl FlowSet {
    fn open(&self) -> PyResult<Arc<o7s::FlowSet>> {
        if self.is_inherited() {
            return Err(PyValueError::new_err(
                "the flow set belongs to the parent process; after fork, make a new one",
            ));
        }
        lock(&self.set)
            .clone()
            .ok_or_else(|| PyValueError::new_err("the flow set is destroyed"))
    }

    /// Whether this is the child of a fork, and the set its parent's.
    fn is_inherited(&self) -> bool {
        getpid() != self.owner
    }

    fn end(&self) {
        let set = lock(&self.set).take();
        match set {
            // Its descriptors are shared with the parent, whose set must not notice.
            Some(set) if self.is_inherited() => std::mem::forget(set),
            Some(set) => set.clear(),
            None => {}
        }
        drop(self.take_members());
    }

    /// Forgets the objects whose flows were deallocated; the library has removed those by itself.
    fn prune(&self) {
        let mut members = lock(&self.members);
        if members.values().all(Member::is_current) {
            return;
        }
        let (stay, gone) = std::mem::take(&mut *members)
            .into_iter()
            .partition(|(_, member)| member.is_current());
        *members = stay;
        drop(members);
        // Not under the lock: a finaliser may run.
        drop::<HashMap<i32, Member>>(gone);
    }

    fn take_members(&self) -> HashMap<i32, Member> {
        std::mem::take(&mut *lock(&self.members))
    }
}

impl Drop for FlowSet {
    fn drop(&mut self) {
        self.end();
    }
}

#[pymethods]
impl FlowSet {
    #[new]
    #[pyo3(signature = (flows=None))]
    fn new(py: Python<'_>, flows: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let set = Self {
            set: Mutex::new(Some(Arc::new(
                o7s::FlowSet::new().or_raise(py, Doing::Set)?,
            ))),
            members: Mutex::default(),
            owner: getpid(),
        };
        if let Some(flows) = flows {
            for flow in flows.try_iter()? {
                set.add(py, flow?.cast::<Flow>()?)?;
            }
        }
        Ok(set)
    }

    /// Adds a flow. A flow can be in one set at a time.
    fn add(&self, py: Python<'_>, flow: &Bound<'_, Flow>) -> PyResult<()> {
        let set = self.open()?;
        let handle = flow
            .get()
            .handle()
            .filter(|handle| handle.state() != FlowState::Deallocated)
            .ok_or_else(|| {
                raise(
                    py,
                    o7s::ErrorKind::NotAllocated,
                    Doing::Set,
                    "cannot add the flow to the set: it is not allocated",
                )
            })?;
        self.prune();
        // Entered first: an event may come before this returns.
        let member = Member {
            object: flow.clone().unbind(),
            flow: handle.clone(),
        };
        let before = lock(&self.members).insert(handle.fd(), member);
        let added = set.add(&handle);
        let replaced = if added.is_err() {
            let mut members = lock(&self.members);
            match before {
                Some(before) => members.insert(handle.fd(), before),
                None => members.remove(&handle.fd()),
            }
        } else {
            before
        };
        drop(replaced);
        added.or_raise(py, Doing::Set)
    }

    /// Removes a flow; one that is not in the set is ignored.
    fn remove(&self, flow: &Bound<'_, Flow>) -> PyResult<()> {
        let set = self.open()?;
        if let Some(handle) = flow.get().handle()
            && set.contains(&handle)
        {
            set.remove(&handle);
            let gone = lock(&self.members).remove(&handle.fd());
            drop(gone);
        }
        self.prune();
        Ok(())
    }

    /// Removes all flows.
    fn zero(&self) -> PyResult<()> {
        self.open()?.clear();
        drop(self.take_members());
        Ok(())
    }

    /// Ends the set; the flows stay allocated. A second call does nothing.
    fn destroy(&self) {
        self.end();
    }

    /// Whether the set is destroyed.
    #[getter]
    fn closed(&self) -> bool {
        lock(&self.set).is_none() || self.is_inherited()
    }

    /// Waits until a flow has news and moves all news into *fq*; at once while *fq* still has some.
    ///
    /// *timeo*: seconds; None = for ever, 0 = do not wait. Raises FlowEventTimeout when it passes.
    #[pyo3(signature = (fq, timeo=None))]
    fn wait(
        &self,
        py: Python<'_>,
        fq: &Bound<'_, EventQueue>,
        timeo: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        let set = self.open()?;
        let deadline = argument::timeout(timeo)?.map(|limit| Instant::now() + limit);
        let queue = fq.get();
        queue.skip_stale();
        loop {
            if !lock(&queue.events).is_empty() {
                return Ok(true);
            }
            // A queue of its own: two threads that wait for one set share its events.
            let fetched = o7s::EventQueue::new();
            wait::until(py, deadline, Doing::Wait, |until| {
                let waited = set.wait_until(&fetched, Some(until));
                match waited {
                    Err(error) if self.closed() => Err(o7s::Error::new(
                        o7s::ErrorKind::Invalid,
                        format!("the flow set was destroyed during the wait ({error})"),
                    )),
                    other => other,
                }
            })?;
            let members = lock(&self.members);
            let mut events = lock(&queue.events);
            while let Some(event) = fetched.next_event() {
                if let Some(member) = members.get(&event.flow.fd())
                    && member.flow == event.flow
                {
                    events.push_back(Queued {
                        object: member.object.clone_ref(py),
                        flow: event.flow,
                        kind: event.kind,
                    });
                }
            }
        }
    }

    /// An operating system descriptor that is readable while wait() would not block. It belongs
    /// to the set: do not read, write or close it.
    ///
    /// After add() it may be readable once without an event: use wait() with a time limit of 0.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        let set = self.open()?;
        let fd = set.fileno().or_raise(py, Doing::Set)?;
        Ok(fd.as_raw_fd())
    }

    /// The flows in the set.
    fn flows(&self, py: Python<'_>) -> PyResult<Vec<Py<Flow>>> {
        self.open()?;
        self.prune();
        let members = lock(&self.members);
        let mut flows: Vec<_> = members
            .iter()
            .map(|(fd, member)| (*fd, member.object.clone_ref(py)))
            .collect();
        drop(members);
        flows.sort_by_key(|(fd, _)| *fd);
        Ok(flows.into_iter().map(|(_, object)| object).collect())
    }

    fn __contains__(&self, flow: &Bound<'_, PyAny>) -> PyResult<bool> {
        let set = self.open()?;
        Ok(flow
            .cast::<Flow>()
            .ok()
            .and_then(|flow| flow.get().handle())
            .is_some_and(|handle| set.contains(&handle)))
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.open()?.len())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The collector stops the world: a lock that is held now is held by a stopped thread.
        if let Ok(members) = self.members.try_lock() {
            for member in members.values() {
                visit.call(&member.object)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        drop(self.take_members());
    }
}

/// An event with the program's object.
struct Queued {
    object: Py<Flow>,
    flow: o7s::Flow,
    kind: EventKind,
}

impl Queued {
    /// Whether the flow was deallocated here meanwhile.
    fn is_stale(&self) -> bool {
        !self.object.get().is(&self.flow)
    }
}

/// Events of flows, fetched by FlowSet.wait(). Independent of the set.
#[pyclass(frozen, subclass, weakref, module = "ouroboros._native")]
pub(crate) struct EventQueue {
    events: Mutex<VecDeque<Queued>>,
}

impl EventQueue {
    fn pop(&self) -> Option<Queued> {
        lock(&self.events).pop_front()
    }

    /// Drops events at the front that nobody will see.
    fn skip_stale(&self) {
        loop {
            let mut events = lock(&self.events);
            if !events.front().is_some_and(Queued::is_stale) {
                return;
            }
            let gone = events.pop_front();
            drop(events);
            drop(gone);
        }
    }
}

#[pymethods]
impl EventQueue {
    #[new]
    fn new() -> Self {
        Self {
            events: Mutex::default(),
        }
    }

    /// The next event as (flow, type number), or None.
    fn _pop(&self) -> Option<(Py<Flow>, u32)> {
        loop {
            let event = self.pop()?;
            if !event.is_stale() {
                return Some((event.object, event.kind as u32));
            }
        }
    }

    /// Drops all events.
    fn clear(&self) {
        drop(std::mem::take(&mut *lock(&self.events)));
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(events) = self.events.try_lock() {
            for event in &*events {
                visit.call(&event.object)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.clear();
    }
}
