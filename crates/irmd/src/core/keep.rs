//! IPCPs of the configuration file are kept: what is missing of an entry is done, and tried again with growing
//! delays until it works; when an IPCP died or a neighbour left, what was lost is done anew.
//!
//! An entry is a list of [`Task`]s, done in their order. A round does all that can be done now:
//!
//! ```text
//!   Start ─► Join ─► Bind … Register … Connect …        a failed Start or Join ends the round,
//!     │        │        │       │         │             of the others only what depends on them
//!     └────────┴────────┴───────┴─────────┴── failed ─► wait ─► next round: what is missing
//!
//!   the IPCP died: all is missing       a neighbour left: its connections are missing
//! ```
//!
//! An IPCP that is destroyed by request is kept no longer.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use o7s::{
    Error, ErrorKind, QosSpec, Result,
    control::{Body, BootstrapIpcp, ConnectIpcp, Empty, EnrollIpcp, IpcpInfo, NameRef, RegName},
    irm::{DT_COMP, IpcpType, MGMT_COMP},
};

use super::{
    ConnId, Context, Core, Peer,
    ipcp::Call,
    limits,
    timer::{Timer, TimerKey},
};
use crate::config::{At, IpcpEntry, Join};

/// Silence after which a neighbour in a broadcast layer is dead, ms. Members of unicast layers say hello; in
/// broadcast layers all packets are those of programs, and there are only the signs of life of the flow itself.
const BROADCAST_TIMEOUT: u32 = 5_000;

/// QoS of a connection that is made again when it ends.
fn connection(ipcp_type: IpcpType) -> QosSpec {
    let timeout = match ipcp_type {
        IpcpType::Broadcast => BROADCAST_TIMEOUT,
        _ => QosSpec::RAW.timeout,
    };
    QosSpec {
        timeout,
        ..QosSpec::RAW
    }
}

/// Names an entry that is kept; lower = earlier in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeptId(pub(super) usize);

/// What an entry asks for, one by one.
#[derive(Debug, Clone, PartialEq)]
enum What {
    /// The process.
    Start,
    /// Membership in a layer.
    Join(Join),
    /// Binding to its own name, and to its layer's.
    Bind,
    /// A name in its layer.
    Register(String),
    /// A connection to a neighbour.
    Connect { dst: String, component: String },
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Missing,
    Done,
    /// In this round.
    Failed,
}

#[derive(Debug)]
struct Task {
    /// Line of the file.
    line: usize,
    what: What,
    progress: Progress,
    /// Why it failed last, until it works: the log has it once.
    trouble: Option<Error>,
}

/// An entry.
#[derive(Debug)]
pub(super) struct Kept {
    name: String,
    ipcp_type: IpcpType,
    /// Its process, while there is one.
    pid: Option<i32>,
    tasks: Vec<Task>,
    /// The task that is under way.
    doing: Option<usize>,
    /// Failed rounds in a row.
    vain: u32,
    /// All is done, since then.
    complete: Option<Instant>,
    timer: Option<TimerKey>,
}

/// All entries that are kept.
#[derive(Debug)]
pub(super) struct Keeper {
    kept: BTreeMap<KeptId, Kept>,
    /// State of the generator of jitter.
    random: u64,
}

impl Keeper {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            kept: BTreeMap::new(),
            random: seed,
        }
    }

    /// The entry of an IPCP.
    fn of_pid(&self, pid: i32) -> Option<KeptId> {
        let mut kept = self.kept.iter();
        kept.find(|(_, kept)| kept.pid == Some(pid))
            .map(|(id, _)| *id)
    }

    /// How long to wait after `vain` failed rounds: doubled each time up to a limit, and a quarter more or
    /// less, so that nodes that start together do not stay in step.
    fn delay(&mut self, vain: u32) -> Duration {
        let delay = limits::KEEP_FIRST * (1 << vain.min(16));
        let delay = delay.min(limits::KEEP_MAX);
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let thousandths = 750 + u32::try_from((mixed >> 33) % 501).unwrap_or(250);
        delay * thousandths / 1000
    }

    /// Entries of which something is missing.
    pub(super) fn incomplete(&self) -> usize {
        let kept = self.kept.values();
        kept.filter(|kept| kept.complete.is_none()).count()
    }
}

impl Kept {
    fn new(line: usize, entry: IpcpEntry) -> Self {
        let mut tasks = Vec::new();
        let mut add = |line, what| {
            tasks.push(Task {
                line,
                what,
                progress: Progress::Missing,
                trouble: None,
            });
        };
        add(line, What::Start);
        // What depends on a layer has no effect without one.
        if let Some(At { line, value: join }) = entry.join {
            add(line, What::Join(join));
            if entry.autobind {
                add(line, What::Bind);
            }
            for At { line, value } in entry.reg {
                add(line, What::Register(value));
            }
            let components: &[&str] = match entry.ipcp_type {
                // It has no management.
                IpcpType::Broadcast => &[DT_COMP],
                _ => &[MGMT_COMP, DT_COMP],
            };
            for At { line, value: dst } in entry.conn {
                for component in components {
                    let component = (*component).to_owned();
                    let dst = dst.clone();
                    add(line, What::Connect { dst, component });
                }
            }
        }
        Self {
            name: entry.name,
            ipcp_type: entry.ipcp_type,
            pid: None,
            tasks,
            doing: None,
            vain: 0,
            complete: None,
            timer: None,
        }
    }

    /// The next task of the round.
    fn next(&mut self) -> Option<usize> {
        for at in 0..self.tasks.len() {
            match (self.tasks[at].progress, &self.tasks[at].what) {
                (Progress::Failed, What::Start | What::Join(_)) => return None,
                (Progress::Missing, what) if self.depends_on_failed(at, what) => {
                    self.tasks[at].progress = Progress::Failed;
                }
                (Progress::Missing, _) => return Some(at),
                _ => {}
            }
        }
        None
    }

    /// Whether a connection to this neighbour failed in this round: a further one would too.
    fn depends_on_failed(&self, at: usize, what: &What) -> bool {
        let What::Connect { dst: to, .. } = what else {
            return false;
        };
        self.tasks[..at].iter().any(|task| {
            task.progress == Progress::Failed
                && matches!(&task.what, What::Connect { dst, .. } if dst == to)
        })
    }

    /// A task in words.
    fn describe(&self, at: usize) -> String {
        let name = &self.name;
        match &self.tasks[at].what {
            What::Start => format!(
                "create the IPCP {name:?} of type {}",
                self.ipcp_type.as_str()
            ),
            What::Join(Join::Bootstrap(config)) => {
                format!(
                    "bootstrap the IPCP {name:?} in layer {:?}",
                    config.layer.name
                )
            }
            What::Join(Join::Enroll(dst)) => format!("enroll the IPCP {name:?} with {dst:?}"),
            What::Bind => format!("bind the IPCP {name:?} to its name and its layer's"),
            What::Register(name_) => format!("register {name_:?} with the layer of {name:?}"),
            What::Connect { dst, component } => {
                format!("connect {component} of the IPCP {name:?} to {dst:?}")
            }
        }
    }

    /// What it waits for, for people; empty when all is done.
    fn waits(&self, now: Instant) -> String {
        let doing = |what: &What| match what {
            What::Start => "start".to_owned(),
            What::Join(Join::Bootstrap(config)) => format!("bootstrap {:?}", config.layer.name),
            What::Join(Join::Enroll(dst)) => format!("enroll with {dst:?}"),
            What::Bind => "bind names".to_owned(),
            What::Register(name) => format!("register {name:?}"),
            What::Connect { dst, component } => format!("connect {component} to {dst:?}"),
        };
        let failed = self.tasks.iter().find_map(|task| {
            let trouble = task.trouble.as_ref()?;
            Some(format!("waits to {}: {trouble}", doing(&task.what)))
        });
        let next = self.timer.map(|(at, _)| {
            let left = at.saturating_duration_since(now).as_secs_f64().ceil();
            format!("next try in {left} s")
        });
        match (failed, next, self.doing) {
            (Some(failed), Some(next), _) => format!("{failed}; {next}"),
            (Some(failed), None, _) => format!("{failed}; being tried again"),
            (None, Some(next), _) => format!("waits; {next}"),
            (None, None, Some(at)) => format!("about to {}", doing(&self.tasks[at].what)),
            (None, None, None) => String::new(),
        }
    }
}

impl Core {
    /// Keeps the IPCP of an entry from now on.
    pub(super) fn keep(&mut self, cx: &mut dyn Context, id: KeptId, line: usize, entry: IpcpEntry) {
        self.keeper.kept.insert(id, Kept::new(line, entry));
        self.advance(cx, id);
    }

    /// Keeps the IPCP of this name no longer, and destroys it if it runs.
    pub(super) fn forget_ipcp(
        &mut self,
        cx: &mut dyn Context,
        conn: ConnId,
        request: u64,
        name: &str,
    ) -> Result<Option<Body>> {
        let mut kept = self.keeper.kept.iter();
        let Some((id, pid)) = kept
            .find(|(_, kept)| kept.name == name)
            .map(|(id, kept)| (*id, kept.pid))
        else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("no IPCP {name:?} of the configuration file is kept"),
            ));
        };
        if let Some(pid) = pid {
            return self.destroy_ipcp(cx, conn, request, pid).map(|()| None);
        }
        self.drop_kept(cx, id);
        Ok(Some(Body::Done(Empty {})))
    }

    /// An IPCP is destroyed by request.
    pub(super) fn keep_no_longer(&mut self, cx: &mut dyn Context, pid: i32) {
        if let Some(id) = self.keeper.of_pid(pid) {
            self.drop_kept(cx, id);
        }
    }

    fn drop_kept(&mut self, cx: &mut dyn Context, id: KeptId) {
        if let Some(kept) = self.keeper.kept.remove(&id) {
            tracing::info!(
                "IPCP {:?} is not kept any more: it is destroyed by request.",
                kept.name
            );
            self.timers.disarm(kept.timer);
            self.round_over(cx, id, false);
        }
    }

    /// Goes on with the round of an entry.
    fn advance(&mut self, cx: &mut dyn Context, id: KeptId) {
        loop {
            let Some(kept) = self.keeper.kept.get_mut(&id) else {
                return;
            };
            if self.stopping || kept.doing.is_some() || kept.timer.is_some() {
                return;
            }
            let Some(at) = kept.next() else {
                return self.end_round(cx, id);
            };
            kept.doing = Some(at);
            match self.begin(cx, id, at) {
                // Its outcome will be told.
                Ok(false) => return,
                Ok(true) => self.note(id, at, Ok(())),
                Err(error) => self.note(id, at, Err(error)),
            }
        }
    }

    /// Begins a task; whether it is done at once.
    fn begin(&mut self, cx: &mut dyn Context, id: KeptId, at: usize) -> Result<bool> {
        let Some(kept) = self.keeper.kept.get_mut(&id) else {
            return Ok(false);
        };
        let what = kept.tasks[at].what.clone();
        let Some(pid) = kept.pid else {
            let (name, ipcp_type) = (kept.name.clone(), kept.ipcp_type);
            let pid = self.start_ipcp(cx, ipcp_type, &name)?;
            if let Some(kept) = self.keeper.kept.get_mut(&id) {
                kept.pid = Some(pid);
            }
            return Ok(false);
        };
        let (name, ipcp_type) = (kept.name.clone(), kept.ipcp_type);
        let body = match what {
            What::Start => return Ok(true),
            What::Join(join) => {
                if self.layer_name(pid).is_some() {
                    // Somebody did it by hand meanwhile.
                    return Ok(true);
                }
                match join {
                    Join::Bootstrap(config) => {
                        let mut boot = BootstrapIpcp {
                            pid,
                            config: *config,
                        };
                        self.check_bootstrap(&mut boot)?;
                        Body::IpcpBootstrap(boot.config)
                    }
                    Join::Enroll(dst) => {
                        let enroll = EnrollIpcp { pid, dst };
                        self.check_enroll(&enroll)?;
                        Body::IpcpEnroll(NameRef { name: enroll.dst })
                    }
                }
            }
            What::Bind => return self.bind_kept(cx, pid, &name).map(|()| true),
            What::Register(name) => {
                let owner = self.itself();
                self.ensure_name(&owner, &name)?;
                Body::IpcpReg(self.registration(&RegName { name, pid }, true)?)
            }
            What::Connect { dst, component } => {
                let connect = ConnectIpcp {
                    pid,
                    dst,
                    component,
                    qos: Some(connection(ipcp_type).into()),
                };
                self.check_connect(&connect)?;
                Body::IpcpConnect(connect)
            }
        };
        self.call_ipcp(cx, pid, body, Call::Kept(id, at));
        Ok(false)
    }

    /// Binds an IPCP to its name and its layer's.
    fn bind_kept(&mut self, cx: &mut dyn Context, pid: i32, name: &str) -> Result<()> {
        let owner = self.itself();
        let layer = self.layer_name(pid).unwrap_or_default();
        for bound in [name, &layer] {
            match self.bind_known(cx, &owner, pid, bound) {
                Err(error) if error.kind() != ErrorKind::Exists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The daemon itself, as one who asks.
    pub(super) fn itself(&self) -> Peer {
        Peer {
            pid: self.settings.pid,
            uid: self.settings.trust.owner,
            gid: 0,
            in_group: false,
        }
    }

    /// The task that was under way came to this; true if it still was.
    pub(super) fn kept_outcome(
        &mut self,
        cx: &mut dyn Context,
        id: KeptId,
        at: usize,
        outcome: Result<()>,
    ) {
        let kept = self.keeper.kept.get(&id);
        if kept.is_some_and(|kept| kept.doing == Some(at)) {
            self.note(id, at, outcome);
            self.advance(cx, id);
        }
    }

    /// Notes what a task came to; the log has each failure once.
    fn note(&mut self, id: KeptId, at: usize, outcome: Result<()>) {
        let path = self.setup.path();
        let Some(kept) = self.keeper.kept.get_mut(&id) else {
            return;
        };
        kept.doing = None;
        let description = kept.describe(at);
        let Task {
            line,
            what,
            progress,
            trouble,
        } = &mut kept.tasks[at];
        let outcome = match outcome {
            // Somebody did it by hand, or it is there still.
            Err(error)
                if error.kind() == ErrorKind::Exists && matches!(what, What::Connect { .. }) =>
            {
                Ok(())
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) => {
                *progress = Progress::Done;
                if trouble.take().is_some() {
                    tracing::info!("{path}:{line}: could {description} now.");
                }
            }
            Err(error) => {
                *progress = Progress::Failed;
                let news = trouble
                    .as_ref()
                    .is_none_or(|told| told.kind() != error.kind());
                if news {
                    tracing::warn!("{path}:{line}: cannot {description}: {error}; trying again");
                }
                *trouble = Some(error);
            }
        }
    }

    /// All that could be done was tried.
    fn end_round(&mut self, cx: &mut dyn Context, id: KeptId) {
        let now = cx.now();
        let Some(kept) = self.keeper.kept.get_mut(&id) else {
            return;
        };
        let complete = kept
            .tasks
            .iter()
            .all(|task| task.progress == Progress::Done);
        if complete {
            if kept.complete.is_none() {
                kept.complete = Some(now);
                tracing::info!("IPCP {:?} is as the configuration says.", kept.name);
            }
        } else {
            kept.complete = None;
            self.wait(cx, id);
        }
        self.round_over(cx, id, complete);
    }

    /// Lets an entry wait for its next round.
    fn wait(&mut self, cx: &mut dyn Context, id: KeptId) {
        let Some(kept) = self.keeper.kept.get_mut(&id) else {
            return;
        };
        for task in &mut kept.tasks {
            if task.progress == Progress::Failed {
                task.progress = Progress::Missing;
            }
        }
        let vain = kept.vain;
        kept.vain += 1;
        let at = cx.now() + self.keeper.delay(vain);
        if let Some(kept) = self.keeper.kept.get_mut(&id) {
            let timer = self.timers.arm(at, Timer::Keep(id));
            self.timers.disarm(kept.timer.replace(timer));
        }
    }

    /// An entry has waited long enough.
    pub(super) fn keep_due(&mut self, cx: &mut dyn Context, id: KeptId) {
        if let Some(kept) = self.keeper.kept.get_mut(&id) {
            kept.timer = None;
            self.advance(cx, id);
        }
    }

    /// Something of an entry that was complete is lost. If it had been so for long, the first try comes soon.
    fn shaken(&mut self, now: Instant, id: KeptId) {
        if let Some(kept) = self.keeper.kept.get_mut(&id) {
            let since = kept.complete.take();
            if since
                .is_some_and(|since| now.saturating_duration_since(since) >= limits::KEPT_STEADY)
            {
                kept.vain = 0;
            }
        }
    }

    /// An IPCP has come up.
    pub(super) fn kept_up(&mut self, cx: &mut dyn Context, pid: i32) {
        let Some(id) = self.keeper.of_pid(pid) else {
            return;
        };
        if let Some(at) = self.keeper.kept.get(&id).and_then(|kept| kept.doing) {
            self.kept_outcome(cx, id, at, Ok(()));
        }
    }

    /// An IPCP ended that nobody wanted to end.
    pub(super) fn kept_died(&mut self, cx: &mut dyn Context, pid: i32, why: &Error) {
        let Some(id) = self.keeper.of_pid(pid) else {
            return;
        };
        self.shaken(cx.now(), id);
        let Some(kept) = self.keeper.kept.get_mut(&id) else {
            return;
        };
        kept.pid = None;
        kept.doing = None;
        for task in &mut kept.tasks {
            task.progress = Progress::Missing;
            task.trouble = None;
        }
        if self.stopping {
            return;
        }
        self.note(id, 0, Err(why.clone()));
        self.wait(cx, id);
        self.round_over(cx, id, false);
    }

    /// A connection to a neighbour is over, and this side did not end it.
    pub(super) fn neighbour_left(&mut self, cx: &mut dyn Context, pid: i32, left: &ConnectIpcp) {
        let Some(id) = self.keeper.of_pid(pid) else {
            return;
        };
        let now = cx.now();
        let Some(kept) = self.keeper.kept.get_mut(&id) else {
            return;
        };
        let task = kept.tasks.iter_mut().find(|task| {
            matches!(&task.what, What::Connect { dst, component }
                if *dst == left.dst && *component == left.component)
        });
        let Some(task) = task.filter(|task| task.progress == Progress::Done) else {
            return;
        };
        task.progress = Progress::Missing;
        if kept.doing.is_none() && kept.timer.is_none() {
            tracing::info!(
                "The connection of IPCP {:?} to {:?} is over; making it again.",
                kept.name,
                left.dst
            );
            self.shaken(now, id);
            self.wait(cx, id);
        }
    }

    /// Kept IPCPs that do not run now.
    pub(super) fn kept_absent(&self, now: Instant) -> Vec<IpcpInfo> {
        let absent = self.keeper.kept.values().filter(|kept| kept.pid.is_none());
        absent
            .map(|kept| IpcpInfo {
                name: kept.name.clone(),
                ipcp_type: kept.ipcp_type.into(),
                waits: kept.waits(now),
                ..IpcpInfo::default()
            })
            .collect()
    }

    /// What a kept IPCP waits for, for people; none if it is not kept, empty if for nothing.
    pub(super) fn kept_waits(&self, pid: i32, now: Instant) -> Option<String> {
        let id = self.keeper.of_pid(pid)?;
        let kept = self.keeper.kept.get(&id)?;
        Some(kept.waits(now))
    }
}
