//! Messages that arrived in order and wait for the reader, each contiguous, in few large blocks.

use std::collections::VecDeque;

/// Length and number of packets, before each message.
const RECORD: usize = 8;
const FIRST_BLOCK: usize = 4 << 10;
const BLOCK: usize = 64 << 10;
/// Consumed blocks up to this size in all are kept for the next messages.
const KEEP: usize = 320 << 10;

/// A message of which fragments are missing, at the end of the last block.
#[derive(Debug, Clone, Copy)]
struct Open {
    start: usize,
    packets: u32,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Unread {
    blocks: VecDeque<Vec<u8>>,
    at: usize,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    open: Option<Open>,
    open_len: usize,
    messages: usize,
    packets: u32,
    bytes: usize,
}

impl Unread {
    /// Whole messages.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Packets of the whole messages.
    pub(super) fn packets(&self) -> u32 {
        self.packets
    }

    /// Bytes held, those of an unfinished message included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.open_len
    }

    /// Length of the unfinished message, if one was begun.
    pub(super) fn open_len(&self) -> Option<usize> {
        self.open.map(|_| self.open_len)
    }

    /// Appends a whole message of one packet. No message may be unfinished.
    pub(super) fn push(&mut self, message: &[u8]) {
        let block = self.block(RECORD + message.len());
        block.extend_from_slice(&record(message.len(), 1));
        block.extend_from_slice(message);
        self.messages += 1;
        self.packets += 1;
        self.bytes += RECORD + message.len();
    }

    /// The last block, with room for `more` bytes.
    fn block(&mut self, more: usize) -> &mut Vec<u8> {
        let (room, capacity) = self.blocks.back().map_or((0, 0), |block| {
            (block.capacity() - block.len(), block.capacity())
        });
        if room < more || self.blocks.is_empty() {
            if self.blocks.back().is_some_and(Vec::is_empty) {
                // Only a queue without messages ends in an empty block.
                if let Some(block) = self.blocks.pop_back() {
                    self.keep(block);
                }
            }
            let fitting = self
                .spare
                .iter()
                .rposition(|spare| spare.capacity() >= more);
            let block = match fitting {
                Some(at) => {
                    let block = self.spare.swap_remove(at);
                    self.spare_bytes -= block.capacity();
                    block
                }
                None => Vec::with_capacity((capacity * 2).clamp(FIRST_BLOCK, BLOCK).max(more)),
            };
            self.blocks.push_back(block);
        }
        let last = self.blocks.len() - 1;
        &mut self.blocks[last]
    }

    /// Begins a message with its first fragment. None may be unfinished.
    pub(super) fn begin(&mut self, fragment: &[u8]) {
        let block = self.block(RECORD + fragment.len());
        let start = block.len();
        block.extend_from_slice(&record(0, 0));
        block.extend_from_slice(fragment);
        self.open = Some(Open { start, packets: 1 });
        self.open_len = fragment.len();
    }

    /// Continues the unfinished message.
    pub(super) fn append(&mut self, fragment: &[u8]) {
        let (Some(mut open), Some(last)) = (self.open, self.blocks.back_mut()) else {
            return;
        };
        if last.capacity() - last.len() < fragment.len() {
            let whole = last.len() - open.start + fragment.len();
            let mut larger = Vec::with_capacity(whole.max(RECORD).next_power_of_two());
            larger.extend_from_slice(&last[open.start..]);
            last.truncate(open.start);
            open.start = 0;
            self.blocks.push_back(larger);
            self.normalize();
        }
        if let Some(last) = self.blocks.back_mut() {
            last.extend_from_slice(fragment);
        }
        open.packets += 1;
        self.open = Some(open);
        self.open_len += fragment.len();
    }

    /// Makes the unfinished message a whole one.
    pub(super) fn complete(&mut self) {
        let (Some(open), Some(last)) = (self.open.take(), self.blocks.back_mut()) else {
            return;
        };
        last[open.start..open.start + RECORD].copy_from_slice(&record(self.open_len, open.packets));
        self.messages += 1;
        self.packets += open.packets;
        self.bytes += RECORD + self.open_len;
        self.open_len = 0;
    }

    /// Drops the unfinished message.
    pub(super) fn abandon(&mut self) {
        if let (Some(open), Some(last)) = (self.open.take(), self.blocks.back_mut()) {
            last.truncate(open.start);
            self.open_len = 0;
            self.normalize();
        }
    }

    fn front(&self) -> Option<(&[u8], u32)> {
        if self.messages == 0 {
            return None;
        }
        let rest = self.blocks.front()?.get(self.at..)?;
        let (length, rest) = rest.split_first_chunk()?;
        let (packets, rest) = rest.split_first_chunk()?;
        let message = rest.get(..u32::from_ne_bytes(*length) as usize)?;
        Some((message, u32::from_ne_bytes(*packets)))
    }

    /// The next message.
    pub(super) fn peek(&self) -> Option<&[u8]> {
        self.front().map(|(message, _)| message)
    }

    /// Drops the next message.
    pub(super) fn consume(&mut self) {
        if let Some((message, packets)) = self.front() {
            let len = RECORD + message.len();
            self.at += len;
            self.messages -= 1;
            self.packets -= packets;
            self.bytes -= len;
            self.normalize();
        }
    }

    /// Gives back the blocks that were read to their end.
    fn normalize(&mut self) {
        loop {
            let single = self.blocks.len() == 1;
            let Some(front) = self.blocks.front_mut() else {
                return;
            };
            if self.at < front.len() || (single && self.open.is_some()) {
                return;
            }
            self.at = 0;
            if single && front.capacity() <= KEEP {
                front.clear();
                return;
            }
            if let Some(block) = self.blocks.pop_front() {
                self.keep(block);
            }
        }
    }

    fn keep(&mut self, mut block: Vec<u8>) {
        if self.spare_bytes + block.capacity() <= KEEP {
            block.clear();
            self.spare_bytes += block.capacity();
            self.spare.push(block);
        }
    }

    /// Drops everything, memory included.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn record(len: usize, packets: u32) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..4].copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_ne_bytes());
    record[4..].copy_from_slice(&packets.to_ne_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in() {
        let mut unread = Unread::default();
        let mut expected = VecDeque::new();
        for i in 0..3000usize {
            let len = (i * 7919) % 3000;
            let message: Vec<u8> = (0..len).map(|b| (b ^ i) as u8).collect();
            if i % 3 == 0 && len > 0 {
                let (first, rest) = message.split_at(len / 3);
                unread.begin(first);
                for fragment in rest.chunks(100) {
                    unread.append(fragment);
                }
                if i % 9 == 0 {
                    unread.abandon();
                    continue;
                }
                unread.complete();
            } else {
                unread.push(&message);
            }
            expected.push_back(message);
            while expected.len() > i % 60 {
                assert_eq!(unread.peek(), expected.pop_front().as_deref());
                unread.consume();
            }
            assert_eq!(unread.messages(), expected.len());
            let held: usize = expected.iter().map(|m| m.len() + RECORD).sum();
            assert_eq!(unread.bytes(), held);
        }
        while let Some(message) = expected.pop_front() {
            assert_eq!(unread.peek(), Some(&message[..]));
            unread.consume();
        }
        assert_eq!(
            (unread.peek(), unread.bytes(), unread.packets()),
            (None, 0, 0)
        );
    }

    #[test]
    fn a_reader_that_keeps_up_uses_one_block() {
        let mut unread = Unread::default();
        for _ in 0..10_000 {
            unread.push(&[7; 64]);
            unread.consume();
        }
        assert_eq!(unread.blocks.len(), 1);
        assert_eq!(unread.blocks[0].capacity(), FIRST_BLOCK);
    }
}
