//! The calls that the daemon makes to IPCPs, and what IPCPs say.

use std::time::Duration;

use o7s::{
    Error, ErrorKind,
    control::{Body, Empty, FlowInfo},
};

use crate::core::{
    ConnId, Context, Core, Side, check_version,
    keep::KeptId,
    limits,
    request::Key,
    timer::{Timer, TimerKey},
};

/// A call whose answer is awaited.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: Call,
    pub(super) timer: TimerKey,
    /// What was asked, and how long the answer may take, for the error.
    asked: &'static str,
    limit: Duration,
}

/// What an answer of an IPCP is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::core) enum Call {
    /// Nobody waits for it.
    Ignored,
    /// A query for this request.
    Query(Key),
    /// A flow request with this flow id; only its failure matters.
    Alloc(Key, u64),
    /// A flow that was accepted here, whose side A is the IPCP's; only its failure matters.
    Accepted(u64),
    /// Bootstrap or enrollment, answered with a layer.
    Join(Key),
    /// The state, answered with a status.
    Show(Key),
    /// Anything answered with `Done`.
    Done(Key),
    /// A task of an entry of the configuration file, answered with `Done` or a layer.
    Kept(KeptId, usize),
}

impl Core {
    /// Sends a request to an IPCP.
    pub(in crate::core) fn call_ipcp(
        &mut self,
        cx: &mut dyn Context,
        pid: i32,
        body: Body,
        call: Call,
    ) {
        self.call_ipcp_with(cx, pid, body, call, None);
    }

    /// Sends a request to an IPCP, perhaps with its end of a flow.
    pub(in crate::core) fn call_ipcp_with(
        &mut self,
        cx: &mut dyn Context,
        pid: i32,
        body: Body,
        call: Call,
        end: Option<&FlowInfo>,
    ) {
        let (asked, limit) = call_limit(&body);
        let Some(ipcp) = self.ipcps.get_mut(&pid) else {
            let error = Error::new(ErrorKind::Ipcp, format!("IPCP {pid} is gone"));
            self.call_failed(cx, pid, call, error);
            return;
        };
        let id = ipcp.next_call;
        ipcp.next_call += 1;
        let timer = self.timers.arm(cx.now() + limit, Timer::IpcpCall(pid, id));
        ipcp.calls.insert(
            id,
            Waiting {
                call,
                timer,
                asked,
                limit,
            },
        );
        // If the channel is broken its end is reported, and ends all calls.
        match end {
            Some(end) => cx.send_to_ipcp(ipcp.conn, id, body, end),
            None => cx.send(ipcp.conn, id, body),
        };
    }

    fn take_call(&mut self, pid: i32, id: u64) -> Option<Waiting> {
        let waiting = self.ipcps.get_mut(&pid)?.calls.remove(&id)?;
        self.timers.disarm(Some(waiting.timer));
        Some(waiting)
    }

    pub(in crate::core) fn ipcp_call_expired(&mut self, cx: &mut dyn Context, pid: i32, id: u64) {
        if let Some(waiting) = self.take_call(pid, id) {
            let name = self.ipcps.get(&pid).map_or("", |ipcp| ipcp.name.as_str());
            let error = Error::new(
                ErrorKind::Ipcp,
                format!(
                    "IPCP {name} ({pid}) did not answer to \"{}\" within {:?}; its log may say what \
                     it waits for",
                    waiting.asked, waiting.limit
                ),
            );
            tracing::warn!("{error}");
            self.call_failed(cx, pid, waiting.call, error);
        }
    }

    pub(super) fn call_failed(&mut self, cx: &mut dyn Context, pid: i32, call: Call, error: Error) {
        match call {
            Call::Ignored | Call::Accepted(_) => {}
            Call::Query(key) => self.query_answered(cx, key, pid, false),
            Call::Kept(entry, task) => self.kept_outcome(cx, entry, task, Err(error)),
            Call::Alloc(key, _) | Call::Join(key) | Call::Show(key) | Call::Done(key) => {
                self.answer(cx, key, Err(error));
            }
        }
    }

    /// A message of an IPCP.
    pub(in crate::core) fn ipcp_message(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        pid: i32,
        id: u64,
        body: Body,
    ) {
        match body {
            Body::Hello(hello) => match check_version(&hello) {
                Ok(()) => self.ipcp_up(cx, conn, pid, id),
                Err(error) => {
                    self.fail(cx, conn, id, &error);
                    self.end_child(cx, pid);
                }
            },
            Body::FlowReqArr(arrived) => {
                if let Err(error) = self.flow_request_arrived(cx, (conn, id), pid, arrived) {
                    self.fail(cx, conn, id, &error);
                }
            }
            Body::FlowAllocReply(reply) => self.flow_alloc_replied(cx, pid, reply),
            Body::FlowDealloc(end) => self.ipcp_dealloc(cx, pid, end),
            Body::IpcpParted(left) => self.neighbour_left(cx, pid, &left),
            Body::Failure(failure) if id == 0 => self.ipcp_failed(cx, pid, failure.into()),
            Body::Done(_) | Body::Failure(_) | Body::IpcpJoined(_) | Body::IpcpStatus(_) => {
                let Some(waiting) = self.take_call(pid, id) else {
                    // Nobody waits any more, but it is a member: asked again it would refuse.
                    if let Body::IpcpJoined(joined) = body
                        && self.layer_name(pid).is_none()
                    {
                        drop(self.ipcp_joined(pid, joined));
                    }
                    return;
                };
                match (waiting.call, body) {
                    (call, Body::Failure(failure)) => {
                        let error = Error::from(failure);
                        let end = match call {
                            Call::Alloc(_, flow) => Some((flow, Side::B)),
                            Call::Accepted(flow) => Some((flow, Side::A)),
                            _ => None,
                        };
                        self.call_failed(cx, pid, call, error.clone());
                        if let Some(end) = end {
                            self.ipcp_refused(cx, pid, end, error.kind());
                        }
                    }
                    (Call::Query(key), Body::Done(_)) => self.query_answered(cx, key, pid, true),
                    (Call::Done(key), Body::Done(_)) => {
                        self.answer(cx, key, Ok(Body::Done(Empty {})));
                    }
                    (Call::Kept(entry, task), Body::Done(_)) => {
                        self.kept_outcome(cx, entry, task, Ok(()));
                    }
                    (Call::Kept(entry, task), Body::IpcpJoined(joined)) => {
                        let outcome = self.ipcp_joined(pid, joined).map(drop);
                        self.kept_outcome(cx, entry, task, outcome);
                    }
                    (Call::Show(key), Body::IpcpStatus(status)) => {
                        let status = self.with_head(cx.now(), pid, status);
                        self.answer(cx, key, Ok(Body::IpcpStatus(status)));
                    }
                    (Call::Join(key), Body::IpcpJoined(joined)) => {
                        let outcome = self.ipcp_joined(pid, joined);
                        self.answer(cx, key, outcome.map(Body::Layer));
                    }
                    (Call::Ignored | Call::Alloc(..) | Call::Accepted(_), Body::Done(_)) => {}
                    (call, other) => {
                        let error = Error::new(
                            ErrorKind::Ipcp,
                            format!("IPCP {pid} gave an answer of the wrong kind: {other:?}"),
                        );
                        tracing::error!("{error}");
                        self.call_failed(cx, pid, call, error);
                    }
                }
            }
            other => tracing::warn!("IPCP {pid} sent an unexpected message: {other:?}"),
        }
    }
}

/// What a call asks, and how long its answer may take.
fn call_limit(body: &Body) -> (&'static str, Duration) {
    match body {
        Body::IpcpQuery(_) => ("query", limits::QUERY),
        Body::IpcpEnroll(_) => ("enroll", limits::IPCP_REMOTE_CALL),
        Body::IpcpConnect(_) => ("connect", limits::IPCP_REMOTE_CALL),
        Body::IpcpDisconnect(_) => ("disconnect", limits::IPCP_REMOTE_CALL),
        Body::IpcpReg(_) => ("register", limits::IPCP_REMOTE_CALL),
        Body::IpcpUnreg(_) => ("unregister", limits::IPCP_REMOTE_CALL),
        Body::IpcpBootstrap(_) => ("bootstrap", limits::IPCP_CALL),
        Body::IpcpShow(_) => ("show", limits::IPCP_CALL),
        Body::IpcpFlowAlloc(_) => ("allocate a flow", limits::IPCP_CALL),
        Body::IpcpFlowAllocResp(_) => ("answer a flow request", limits::IPCP_CALL),
        Body::IpcpFlowJoin(_) => ("join", limits::IPCP_CALL),
        Body::IpcpFlowDealloc(_) => ("deallocate a flow", limits::IPCP_DEALLOC),
        _ => ("a request", limits::IPCP_CALL),
    }
}
