//! Sequence numbers of announcements, and what ours say beyond 0.23.
//!
//! 0.23 has no message that takes a link back. Its numbers begin at 0 and grow by one per `t_update`, so they
//! never come near the upper half. There, an odd number says that the link is gone, an even one that it is
//! there:
//!
//! ```text
//!  0, 1, 2 ...          there, as in 0.23        2^63 + 2, + 4 ...    there again
//!  2^63 + 1             gone                     2^63 + n, n odd      gone again
//! ```
//!
//! A member that runs 0.23 takes the packet for a refresh and passes it on; for it the link lasts until it
//! ages out, as it would have done anyway.
//!
//! Others forget a link after `t_timeo`. So an owner whose numbers come to their end, since somebody has
//! invented high ones, begins anew at the low end, and is heard when the invented ones have aged out.

/// Where the upper half begins.
const UPPER: u64 = 1 << 63;

/// Highest number that is believed, so that the owner of a link has room above what others invent. What an owner
/// says is not higher either: nobody would believe it.
pub(super) const BELIEVED_MAX: u64 = u64::MAX - (1 << 32);

/// Whether an announcement with this number takes the link back.
pub(super) fn is_gone(seqno: u64) -> bool {
    seqno >= UPPER && seqno % 2 == 1
}

/// The next number that says the link is there; the first one when there is none above.
pub(super) fn there_after(seqno: u64) -> u64 {
    let next = seqno.saturating_add(1);
    let next = next.saturating_add(u64::from(is_gone(next)));
    if next > BELIEVED_MAX { 0 } else { next }
}

/// The next number that says the link is gone; the first one when there is none above.
pub(super) fn gone_after(seqno: u64) -> u64 {
    let next = seqno.max(UPPER).saturating_add(1) | 1;
    if next > BELIEVED_MAX { UPPER + 1 } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_link_grow() {
        assert_eq!(there_after(0), 1);
        assert_eq!(there_after(UPPER - 1), UPPER);
        assert_eq!(gone_after(0), UPPER + 1);
        assert_eq!(gone_after(UPPER), UPPER + 1);
        assert_eq!(there_after(UPPER + 1), UPPER + 2);
        assert_eq!(there_after(UPPER + 2), UPPER + 4);
        assert_eq!(gone_after(UPPER + 2), UPPER + 3);
        assert_eq!(gone_after(UPPER + 3), UPPER + 5);
        for seqno in [0, 7, UPPER, UPPER + 1, BELIEVED_MAX - 3] {
            let (there, gone) = (there_after(seqno), gone_after(seqno));
            assert!(there > seqno && gone > seqno);
            assert!(!is_gone(there) && is_gone(gone));
        }
    }

    #[test]
    fn no_number_is_one_that_others_do_not_believe() {
        for seqno in BELIEVED_MAX - 4..=BELIEVED_MAX {
            let (there, gone) = (there_after(seqno), gone_after(seqno));
            assert!(there <= BELIEVED_MAX && gone <= BELIEVED_MAX);
            assert!(!is_gone(there) && is_gone(gone));
        }
        assert_eq!(there_after(BELIEVED_MAX), 0);
        assert_eq!(gone_after(BELIEVED_MAX), UPPER + 1);
    }
}
