//! A server with a thread per flow, which ends in good order.

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use o7s::{Error, ErrorKind, Flow, Listener, Node};

use crate::{
    output::complain,
    stop::{Stop, with_signals},
};

/// Pause after a failed accept: from, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What a server is made of.
pub(crate) struct Server<F, W> {
    /// Most flows at a time.
    pub(crate) flows: usize,
    /// Called when there are as many: further ones wait.
    pub(crate) full: F,
    /// Serves a flow until it ends; the end of the server deallocates it meanwhile.
    pub(crate) work: W,
}

/// The flows in use.
#[derive(Default)]
struct Flows {
    open: Mutex<HashMap<i32, Flow>>,
    changed: Condvar,
}

impl Flows {
    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Flow>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while there are `most` flows, and calls `full` if it has to.
    fn wait_for_room(&self, most: usize, stop: &Stop, full: &mut impl FnMut()) {
        let mut open = self.lock();
        if open.len() >= most {
            full();
        }
        while open.len() >= most && !stop.is_stopped() {
            open = self
                .changed
                .wait(open)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a flow that is served.
    fn finish(&self, flow: &Flow) {
        // An error says that it is deallocated already.
        let _ = flow.dealloc();
        self.lock().remove(&flow.fd());
        self.changed.notify_all();
    }

    /// Ends all flows; those who serve them see it at their next read or write.
    fn end_all(&self) {
        for flow in self.lock().values() {
            let _ = flow.dealloc();
        }
        self.changed.notify_all();
    }
}

impl<F: FnMut(), W: Fn(&Flow, &Stop) + Sync> Server<F, W> {
    /// Says `started` when flows can come, and serves them until a signal or the daemon's end.
    pub(crate) fn run(self, started: impl FnOnce()) -> ExitCode {
        let listener = match Listener::new(&Node::current()) {
            Ok(listener) => listener,
            Err(error) => {
                failed(&error);
                return ExitCode::FAILURE;
            }
        };
        let (stop, flows) = (Stop::default(), Flows::default());
        let end = || {
            stop.stop();
            listener.close();
            flows.end_all();
        };
        let Self {
            flows: most,
            mut full,
            work,
        } = self;
        let served = with_signals(end, || {
            started();
            thread::scope(|scope| {
                let code = loop {
                    flows.wait_for_room(most, &stop, &mut full);
                    let flow = match next(&listener, &stop) {
                        Ok(flow) => flow,
                        Err(code) => break code,
                    };
                    flows.lock().insert(flow.fd(), flow.clone());
                    let (work, flows, stop) = (&work, &flows, &stop);
                    scope.spawn(move || {
                        work(&flow, stop);
                        flows.finish(&flow);
                    });
                };
                end();
                code
            })
        });
        served.unwrap_or_else(|error| {
            complain(format_args!("Failed to watch for signals: {error}."));
            ExitCode::FAILURE
        })
    }
}

/// The next flow; the server's status when there will never be one.
fn next(listener: &Listener, stop: &Stop) -> Result<Flow, ExitCode> {
    let mut pause = BACK_OFF.0;
    loop {
        let error = match listener.accept_until(None) {
            _ if stop.is_stopped() => return Err(ExitCode::SUCCESS),
            Ok(flow) => return Ok(flow),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => error,
        };
        failed(&error);
        if error.kind() == ErrorKind::Daemon {
            return Err(ExitCode::FAILURE);
        }
        // One client's failure is not the server's; a lasting one must not spin.
        if stop.sleep(pause) {
            return Err(ExitCode::SUCCESS);
        }
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

fn failed(error: &Error) {
    complain(format_args!("Failed to accept flow.\n{error}"));
}
