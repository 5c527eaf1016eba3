//! Which frames an IPCP hears at all: a program for the system's packet filter.
//!
//! It is attached before the socket is bound, so that no other frame ever waits in it. What is not
//! for this machine, what it sent itself, and what belongs to a VLAN is not heard; the protocol's
//! own checks come on top.

use libc::sock_filter;

/// Offset of the ethertype, or length.
const TYPE: u32 = 12;
/// Offset of the LLC header's control field.
const CONTROL: u32 = 16;
/// Unnumbered information.
const UI: u32 = 0x03;
/// Largest length; above it is an ethertype.
const MAX_LENGTH: u32 = o7s_wire::eth::MAX_LENGTH as u32;
/// The bits of a tag that say which VLAN; zero is none (a priority only).
const VLAN: u32 = 0x0fff;
/// The whole frame.
const ALL: u32 = u32::MAX;
/// Metadata of the system: to whom the frame is, and its VLAN tag if the device took it out.
const TO_WHOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
const TAG: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG) as u32;
/// Frames for this interface are 0, for everybody 1, for groups 2, for others 3, from here 4. On the
/// loopback device "everybody" counts as a group.
const FOR_GROUPS: u32 = libc::PACKET_MULTICAST as u32;

/// Marks a jump to the end, where the frame is dropped.
const DROP: u8 = u8::MAX;

fn load_half(at: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, at)
}

fn load_byte(at: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, at)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes on if the loaded number is `k`.
fn must_be(k: u32) -> sock_filter {
    sock_filter {
        jf: DROP,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k)
    }
}

/// Goes on unless the loaded number is above `k`.
fn at_most(k: u32) -> sock_filter {
    sock_filter {
        jt: DROP,
        ..statement(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, k)
    }
}

/// Goes on unless the loaded number has any of the bits.
fn without(bits: u32) -> sock_filter {
    sock_filter {
        jt: DROP,
        ..statement(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, bits)
    }
}

/// Frames of a layer of type eth-dix with this ethertype.
#[must_use]
pub fn dix(ethertype: u16) -> Vec<sock_filter> {
    program(&[load_half(TYPE), must_be(ethertype.into())])
}

/// Frames of layers of type eth-llc, and others with an LLC header of that kind.
#[must_use]
pub fn llc() -> Vec<sock_filter> {
    program(&[
        load_half(TYPE),
        at_most(MAX_LENGTH),
        load_byte(CONTROL),
        must_be(UI),
    ])
}

fn program(what: &[sock_filter]) -> Vec<sock_filter> {
    let common = [
        load_half(TO_WHOM),
        at_most(FOR_GROUPS),
        load_half(TAG),
        without(VLAN),
    ];
    let mut program: Vec<sock_filter> = common.into_iter().chain(what.iter().copied()).collect();
    let end = program.len();
    for (at, step) in program.iter_mut().enumerate() {
        // Behind the last check: take the frame; behind that: drop it.
        let distance = u8::try_from(end - at).unwrap_or(0);
        for jump in [&mut step.jt, &mut step.jf] {
            if *jump == DROP {
                *jump = distance;
            }
        }
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, ALL));
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_the_drop() {
        for program in [dix(0xa000), llc()] {
            let last = program.len() - 1;
            for (at, step) in program.iter().enumerate() {
                for jump in [step.jt, step.jf] {
                    assert!(jump == 0 || at + 1 + usize::from(jump) == last, "step {at}");
                }
            }
            assert_eq!((program[last - 1].k, program[last].k), (ALL, 0));
        }
    }
}
