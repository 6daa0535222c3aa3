//! Frames that were sent and are not known to be durable: numbered, bounded, kept for sending again.
//!
//! State: the frames in number order. Pure: the pump asks it what fits and tells it what the coordinator said.

use std::collections::VecDeque;

use holdfast_proto::v1::FrameUpload;

/// See the module header.
#[derive(Debug)]
pub(super) struct Window {
    /// In number order, without gap.
    frames: VecDeque<FrameUpload>,
    bytes: usize,
    bytes_max: usize,
    /// The number that the next frame gets; the first is 1.
    next: u64,
    /// Every frame up to this one is durable.
    durable: u64,
}

/// The coordinator said something about frames that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it says that frame {said} is durable, of {sent} that were sent")]
pub(super) struct Impossible {
    said: u64,
    sent: u64,
}

impl Window {
    /// A window of so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            bytes_max,
            next: 1,
            durable: 0,
        }
    }

    /// Sets the limit, which each stream's opening tells anew.
    pub(super) fn limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Whether a frame may be sent now. A frame that is larger than the whole window goes alone.
    pub(super) fn fits(&self, frame: &FrameUpload) -> bool {
        self.frames.is_empty() || self.bytes + size(frame) <= self.bytes_max
    }

    /// Numbers a frame and keeps it; gives what is to be sent.
    pub(super) fn take(&mut self, mut frame: FrameUpload) -> FrameUpload {
        frame.number = self.next;
        self.next += 1;
        self.bytes += size(&frame);
        self.frames.push_back(frame.clone());
        frame
    }

    /// Drops what is durable. Gives the number of frames that became so.
    pub(super) fn durable(&mut self, number: u64) -> Result<u64, Impossible> {
        if number >= self.next {
            return Err(Impossible {
                said: number,
                sent: self.next - 1,
            });
        }
        let before = self.durable;
        while self.frames.front().is_some_and(|f| f.number <= number) {
            if let Some(frame) = self.frames.pop_front() {
                self.bytes -= size(&frame);
                self.durable = frame.number;
            }
        }
        Ok(self.durable - before)
    }

    /// The frames to send again on a new stream, in order.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = &FrameUpload> {
        self.frames.iter()
    }

    /// Bytes that are sent and not durable.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many frames were sent.
    #[cfg(test)]
    pub(super) fn sent(&self) -> u64 {
        self.next - 1
    }
}

fn size(frame: &FrameUpload) -> usize {
    frame.sealed.len() + frame.refs.len() + frame.ids.len() + 64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> FrameUpload {
        FrameUpload {
            sealed: vec![0; len - 64].into(),
            ..Default::default()
        }
    }

    fn numbers(window: &Window) -> Vec<u64> {
        window.unacknowledged().map(|frame| frame.number).collect()
    }

    #[test]
    fn frames_are_numbered_and_kept_until_durable() {
        let mut window = Window::new(300);
        for want in 1..=3 {
            assert!(window.fits(&frame(100)));
            assert_eq!(window.take(frame(100)).number, want);
        }
        assert!(!window.fits(&frame(100)));
        assert_eq!(window.durable(2), Ok(2));
        assert_eq!(numbers(&window), [3]);
        assert!(window.fits(&frame(200)));
        assert_eq!(window.durable(1), Ok(0));
        assert_eq!(window.durable(3), Ok(1));
        assert_eq!((window.bytes(), window.sent()), (0, 3));
    }

    #[test]
    fn a_frame_larger_than_the_window_goes_alone() {
        let mut window = Window::new(100);
        assert!(window.fits(&frame(5000)));
        window.take(frame(5000));
        assert!(!window.fits(&frame(65)));
    }

    #[test]
    fn a_frame_that_was_never_sent_cannot_be_durable() {
        let mut window = Window::new(100);
        window.take(frame(80));
        assert!(window.durable(2).is_err());
        assert_eq!(numbers(&window), [1]);
    }
}
