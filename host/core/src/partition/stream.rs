//! How far the streams of a partition's topics have come, by the times of their records: the clock of the inbox that is not
//! the wall's.

use super::{Partition, Progress};
use crate::time::Millis;
use crate::unit::Position;

/// The clock of one topic. It counts what has a fate: a record that was only read may be a repeat of what would leave the
/// inbox by it, and so may one that stands before it and waits.
///
/// It is not stored. A new owner begins at zero, with a window that nothing leaves: a record or the end of the topic shows
/// how far it is before long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// What comes from here on is not from before that.
    time: Millis,
    /// The highest time of all that was read.
    latest: Millis,
    /// An offset, and the time that it is when all before it has a fate.
    read: Option<(u64, Millis)>,
    /// The same of an end of the topic.
    end: Option<(u64, Millis)>,
}

impl Stream {
    /// A record of this time was read.
    pub(super) fn note(&mut self, time: Millis) {
        self.latest = self.latest.max(time);
    }

    /// Takes in what has a fate since.
    fn follow(&mut self, progress: &Progress) {
        let frontier = progress.frontier();
        for reached in [&mut self.read, &mut self.end] {
            if let Some((_, time)) = reached.take_if(|(offset, _)| *offset <= frontier) {
                self.time = self.time.max(time);
            }
        }
        if frontier >= progress.next() {
            self.time = self.time.max(self.latest);
        } else {
            // Whatever is read after that is not waited for, or a topic where something is always open would stand still.
            self.read.get_or_insert((progress.next(), self.latest));
        }
    }
}

impl Partition {
    /// A topic ended before this position at that instant, which has passed: whatever was written since stands behind it. While
    /// nothing comes of a topic, nothing else shows that it has not stopped in time.
    pub fn handle_end(&mut self, at: Millis, position: Position) {
        let topic = usize::from(position.topic);
        let (stream, progress) = (&mut self.streams[topic], &self.progress[topic]);
        stream.follow(progress);
        stream.end.get_or_insert((position.offset, at));
        stream.follow(progress);
    }

    /// The time that the stream of each topic has reached: a repeat may stand in that which is furthest behind. Marks are as
    /// old as the one that is furthest ahead had them.
    pub(super) fn stream_reached(&mut self) -> Millis {
        for (stream, progress) in self.streams.iter_mut().zip(&self.progress) {
            stream.follow(progress);
        }
        let events = (0..)
            .zip(&self.streams)
            .filter(|(topic, _)| self.config.commands != Some(*topic));
        let reached = events.map(|(_, stream)| stream.time).min();
        reached.unwrap_or_default()
    }
}
