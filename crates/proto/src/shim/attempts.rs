//! The addresses that one allocation asks: one after another, and each again.
//!
//! A name may have several members. The next one is asked while the one before is still silent, or as
//! soon as it refuses, and the first that accepts has the flow (as RFC 8305 §5 does with connections).

use std::time::{Duration, Instant};

use super::Address;

/// How many addresses of a name are asked for one allocation.
const MAX_ASKED: usize = 4;

#[derive(Debug)]
struct Attempt {
    address: Address,
    /// When to ask again, and after which time the next time.
    again: Option<(Instant, Duration)>,
}

/// Whom an allocation has asked.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Who has not answered yet; a reply of any of them counts. The last one was asked last.
    asked: Vec<Attempt>,
    /// Who cannot give the flow.
    refused: Vec<Address>,
    /// When another address is asked.
    next: Option<Instant>,
}

impl Attempts {
    /// Whether an answer is awaited from somebody.
    pub(super) fn awaits_any(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether an answer is awaited from this address.
    pub(super) fn awaits(&self, address: Address) -> bool {
        self.asked.iter().any(|attempt| attempt.address == address)
    }

    /// Whether anybody was asked before.
    pub(super) fn has_begun(&self) -> bool {
        self.awaits_any() || !self.refused.is_empty()
    }

    /// Whether the address was not asked yet and may be.
    pub(super) fn may_ask(&self, address: Address) -> bool {
        self.asked.len() + self.refused.len() < MAX_ASKED
            && !self.awaits(address)
            && !self.refused.contains(&address)
    }

    /// Who was asked last and has not answered.
    pub(super) fn latest(&self) -> Option<Address> {
        self.asked.last().map(|attempt| attempt.address)
    }

    /// All who have not answered.
    pub(super) fn silent(&self) -> Vec<Address> {
        self.asked.iter().map(|attempt| attempt.address).collect()
    }

    /// An address is asked. `again`: when it is asked for the second time, and after which time for the
    /// third; `next`: when another one is asked.
    pub(super) fn ask(
        &mut self,
        address: Address,
        again: Option<(Instant, Duration)>,
        next: Option<Instant>,
    ) {
        self.asked.retain(|attempt| attempt.address != address);
        self.asked.push(Attempt { address, again });
        self.next = next;
    }

    /// The address cannot give the flow.
    pub(super) fn refuse(&mut self, address: Address) {
        self.asked.retain(|attempt| attempt.address != address);
        if !self.refused.contains(&address) {
            self.refused.push(address);
        }
    }

    /// Lets an address be asked again at once; whether it was waited for.
    pub(super) fn hurry(&mut self, now: Instant, address: Address) -> bool {
        let attempt = self.asked.iter_mut().find(|it| it.address == address);
        let again = attempt.and_then(|attempt| attempt.again.as_mut());
        if let Some((at, _)) = again {
            *at = now;
            return true;
        }
        false
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Option<Instant> {
        let again = self.asked.iter().filter_map(|attempt| attempt.again);
        again.map(|(at, _)| at).chain(self.next).min()
    }

    /// Those who are to be asked again at `now`; times double up to `most`.
    pub(super) fn take_due(&mut self, now: Instant, most: Duration) -> Vec<Address> {
        let mut due = Vec::new();
        for attempt in &mut self.asked {
            if let Some((at, after)) = attempt.again
                && at <= now
            {
                attempt.again = Some((now + after, (after * 2).min(most)));
                due.push(attempt.address);
            }
        }
        due
    }

    /// Whether it is time for another address.
    pub(super) fn take_next(&mut self, now: Instant) -> bool {
        self.next.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use o7s_wire::eth::MacAddr;

    const MS: Duration = Duration::from_millis(1);

    fn mac(number: u8) -> Address {
        MacAddr([2, 0, 0, 0, 0, number]).into()
    }

    #[test]
    fn each_has_its_time_and_there_are_few() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        assert!(!attempts.has_begun() && attempts.due().is_none());
        attempts.ask(
            mac(1),
            Some((now + MS * 100, MS * 200)),
            Some(now + MS * 50),
        );
        assert_eq!(attempts.due(), Some(now + MS * 50));
        assert!(!attempts.take_next(now) && attempts.take_next(now + MS * 50));
        attempts.ask(mac(2), None, None);
        assert_eq!(attempts.due(), Some(now + MS * 100));
        assert_eq!(attempts.take_due(now + MS * 100, MS * 300), [mac(1)]);
        assert_eq!(attempts.due(), Some(now + MS * 300));
        assert_eq!(attempts.take_due(now + MS * 300, MS * 300), [mac(1)]);
        assert_eq!(attempts.due(), Some(now + MS * 600));
        assert!(attempts.hurry(now, mac(1)) && !attempts.hurry(now, mac(2)));
        assert_eq!(attempts.due(), Some(now));
        attempts.refuse(mac(1));
        attempts.refuse(mac(1));
        assert_eq!((attempts.latest(), attempts.due()), (Some(mac(2)), None));
        assert!(!attempts.may_ask(mac(1)) && !attempts.may_ask(mac(2)));
        attempts.ask(mac(3), None, None);
        assert!(attempts.may_ask(mac(4)));
        attempts.ask(mac(4), None, None);
        assert!(!attempts.may_ask(mac(5)), "four are asked");
        assert_eq!(attempts.silent(), [mac(2), mac(3), mac(4)]);
    }
}
