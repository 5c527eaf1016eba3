//! Every limit and time-out of the daemon (`spec/irm-tools.md` §1).

use std::time::Duration;

/// Flows in the whole daemon.
pub const FLOWS: usize = 16_384;
/// Flow ends that the processes of one user, not privileged, may hold.
pub const ENDS_PER_USER: usize = 16_384;
/// Processes that one user, not privileged, may announce.
pub const PROCESSES_PER_USER: usize = 2_048;
/// Connections that one user, not privileged, may hold.
pub const CONNECTIONS_PER_USER: usize = 4_096;
/// Names that one user, not privileged, may create by binding his processes.
pub const NAMES_PER_USER: usize = 1_024;
/// Names in the whole daemon.
pub const NAMES: usize = 65_536;
/// Requests that one process may have waiting.
pub const PENDING_PER_PROCESS: usize = 4_096;
/// Requests that one connection may have waiting.
pub const PENDING_PER_CONNECTION: usize = 4_096;
/// Flow requests that may wait for one name's acceptors.
pub const QUEUE_PER_NAME: usize = 1_024;
/// Steps of key exchanges that the workers have at one time.
pub const STEPS_RUNNING: usize = 16;
/// Steps of key exchanges that may wait for a worker for one user's allocations.
pub const STEPS_PER_USER: usize = 4_096;
/// Steps of key exchanges that may wait for a worker for the requests of one layer's strangers.
pub const STEPS_PER_LAYER: usize = 256;
/// Slots of a doorbell.
pub const SLOTS: u32 = 16_384;
/// Ends in one notification.
pub const ENDS_PER_NOTICE: usize = 4_096;

/// Flow allocation without a time-out of its own.
pub const ALLOC: Duration = Duration::from_secs(20);
/// How long a request waits for a server to turn up when a program is bound to the name, but none
/// of its processes serves and none can be started. A server that is known may take longer.
pub const ARRIVAL: Duration = Duration::from_secs(2);
/// Answer of an IPCP to a query. 0.23 waits for 200 ms, an Ethernet layer for 2 s for its members:
/// so the first allocation to a slow one fails there (`spec/shims.md` §13 trap 16).
pub const QUERY: Duration = Duration::from_millis(2_500);
/// The same, once another layer reaches the destination: layers that come first in the order keep
/// the word if they answer within this time.
pub const QUERY_GRACE: Duration = Duration::from_millis(50);
/// Answer of an IPCP to anything that is not below.
pub const IPCP_CALL: Duration = Duration::from_secs(10);
/// Answer of an IPCP that talks to neighbours (enroll, connect, register): longer than the
/// allocation of the flow to the neighbour may take, so that its own reason is heard.
pub const IPCP_REMOTE_CALL: Duration = Duration::from_secs(30);
/// Answer of an IPCP that is to give a flow back. Nobody waits for it.
pub const IPCP_DEALLOC: Duration = Duration::from_secs(180);
/// From the start of an IPCP to its first message.
pub const IPCP_BOOT: Duration = Duration::from_secs(10);
/// From SIGTERM to SIGKILL.
pub const KILL_GRACE: Duration = Duration::from_secs(3);
/// How long "bind process" waits for the process to announce itself.
pub const BIND_WAIT: Duration = Duration::from_millis(10);
/// A program that ends earlier without announcing itself was started in vain.
pub const QUICK_EXIT: Duration = Duration::from_secs(1);
/// Vain starts in a row after which waiting requests are refused.
pub const VAIN_STARTS: u32 = 3;
/// Delay after the first vain start; doubles with each further one.
pub const BACK_OFF: Duration = Duration::from_millis(100);
/// Delay after the first failed round of an entry of the configuration file; doubles with each further one.
pub const KEEP_FIRST: Duration = Duration::from_millis(250);
/// Longest such delay, but for a quarter that chance may add.
pub const KEEP_MAX: Duration = Duration::from_secs(8);
/// An entry that was complete for this long begins with short delays again when something is lost.
pub const KEPT_STEADY: Duration = Duration::from_secs(10);
/// Maximum packet lifetime of direct flows, ms.
pub const DIRECT_MPL_MS: u32 = 1;
