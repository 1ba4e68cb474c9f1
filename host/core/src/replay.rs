//! A replay of dead letters: which one is sent next, and when the rest is given up.
//!
//! Whole sequences, in order: the next letter of a sequence is sent when the one before it is handled, and a sequence
//! ends with its first letter that dies again. The first sequences go alone: when the cause is not gone, they die again
//! and the others are left as they are.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

use crate::rate::Rate;
use crate::time::Millis;

/// Sequences that go before the others.
pub const CANARY: usize = 20;
/// How many of them must finish before the others follow.
pub const CANARY_FINISH: usize = 19;
/// Letters a second of a job that says nothing else.
pub const RATE: NonZeroU32 = NonZeroU32::new(10).expect("ten is not zero");
/// Sequences that are on their way at once: bounds what is asked about at every look.
const OPEN_MAX: usize = 256;

/// How far a letter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not sent.
    Left,
    /// Sent, without a fate.
    Sent,
    /// It ended.
    Ended(Fate),
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its replay was handled.
    Done,
    /// An operator gave it up.
    Dropped,
    /// It died again.
    Dead,
    /// Its record is not kept any more.
    Missing,
}

impl Fate {
    /// Whether the letters behind it may follow.
    fn lets_pass(self) -> bool {
        match self {
            Self::Done | Self::Dropped => true,
            Self::Dead | Self::Missing => false,
        }
    }
}

/// How the job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It sends letters.
    Running,
    /// An operator has stopped it for now.
    Paused,
    /// An operator has stopped it for good.
    Cancelled,
    /// Every sequence has ended.
    Done,
    /// Too many of the first sequences died again: the others were not sent.
    FailedCanary,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
            Self::FailedCanary => "failed-canary",
        }
    }

    /// Whether it sends no more, whatever an operator says.
    #[must_use]
    pub fn is_over(self) -> bool {
        match self {
            Self::Running | Self::Paused => false,
            Self::Cancelled | Self::Done | Self::FailedCanary => true,
        }
    }
}

/// What a job asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this letter; answered by [`Replay::handle_sent`] or [`Replay::handle_fate`].
    Send(usize),
    /// Nothing before this instant; none: not before a fate or a command.
    Wait(Option<Millis>),
}

/// Letters by how far they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent so far, whatever became of them.
    pub sent: usize,
    /// Handled.
    pub done: usize,
    /// Given up by an operator meanwhile.
    pub dropped: usize,
    /// Dead again.
    pub dead: usize,
    /// No longer kept.
    pub missing: usize,
    /// Sent and without a fate.
    pub waiting: usize,
    /// Not sent.
    pub left: usize,
}

/// A replay job, without what it replays: letters by number, those of a sequence beside one another and in order.
#[derive(Clone, Debug)]
pub struct Replay {
    state: State,
    rate: Rate,
    steps: Vec<Step>,
    /// One past the last letter of each sequence.
    ends: Vec<usize>,
    /// Sequences that have begun: those before this one.
    opened: usize,
    /// Letters whose turn has come.
    ready: VecDeque<usize>,
    /// Letters that were sent and have no fate.
    waiting: BTreeSet<usize>,
    /// Of all sequences and of the first ones: how many had all letters handled, and how many ended early.
    finished: usize,
    failed: usize,
    canary_finished: usize,
    canary_failed: usize,
}

impl Replay {
    /// A job that stands like this. `lengths` are the letters of each sequence, `steps` those of all letters; both come
    /// from [`Self::steps`] after a restart.
    ///
    /// Invariant: the lengths add up to the number of steps, and none is zero.
    #[must_use]
    pub fn new(lengths: &[usize], per_second: NonZeroU32, state: State, steps: Vec<Step>) -> Self {
        debug_assert_eq!(lengths.iter().sum::<usize>(), steps.len());
        debug_assert!(!lengths.contains(&0));
        let mut end = 0;
        let ends = lengths.iter().map(|length| {
            end += length;
            end
        });
        let mut replay = Self {
            state,
            rate: Rate::new(per_second, NonZeroU32::MIN),
            ends: ends.collect(),
            steps,
            opened: 0,
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            finished: 0,
            failed: 0,
            canary_finished: 0,
            canary_failed: 0,
        };
        replay.resume_sequences();
        replay.judge();
        replay
    }

    /// Puts every sequence where its steps say it is.
    fn resume_sequences(&mut self) {
        let begun = (0..self.ends.len())
            .rev()
            .find(|sequence| self.steps[self.start(*sequence)] != Step::Left);
        self.opened = begun.map_or(0, |last| last + 1);
        for sequence in 0..self.opened {
            let letters = self.start(sequence)..self.ends[sequence];
            let open = letters.clone().find(|letter| match self.steps[*letter] {
                Step::Left | Step::Sent => true,
                Step::Ended(fate) => !fate.lets_pass(),
            });
            match open.map(|letter| (letter, self.steps[letter])) {
                None => self.end_sequence(sequence, true),
                Some((_, Step::Ended(_))) => self.end_sequence(sequence, false),
                Some((letter, Step::Sent)) => {
                    self.waiting.insert(letter);
                }
                Some((letter, Step::Left)) => self.ready.push_back(letter),
            }
        }
    }

    /// What is to be done.
    pub fn poll(&mut self, now: Millis) -> Next {
        if self.state != State::Running {
            return Next::Wait(None);
        }
        self.open_sequences();
        let Some(&letter) = self.ready.front() else {
            return Next::Wait(None);
        };
        match self.rate.take(now) {
            Ok(()) => {
                self.ready.pop_front();
                Next::Send(letter)
            }
            Err(at) => Next::Wait(Some(at)),
        }
    }

    /// Lets sequences begin, as many as may be on their way.
    fn open_sequences(&mut self) {
        let limit = if self.is_canary_over() {
            self.ends.len()
        } else {
            CANARY
        };
        while self.opened < limit && self.ready.len() + self.waiting.len() < OPEN_MAX {
            self.ready.push_back(self.start(self.opened));
            self.opened += 1;
        }
    }

    /// The letter is on its way.
    pub fn handle_sent(&mut self, letter: usize) {
        self.steps[letter] = Step::Sent;
        self.waiting.insert(letter);
    }

    /// The letter was not sent: its turn comes again.
    pub fn handle_unsent(&mut self, letter: usize) {
        self.ready.push_front(letter);
    }

    /// What became of a letter that was sent, or whose turn had come.
    pub fn handle_fate(&mut self, letter: usize, fate: Fate) {
        self.waiting.remove(&letter);
        self.steps[letter] = Step::Ended(fate);
        let sequence = self.ends.partition_point(|end| *end <= letter);
        if !fate.lets_pass() {
            self.end_sequence(sequence, false);
        } else if letter + 1 == self.ends[sequence] {
            self.end_sequence(sequence, true);
        } else {
            self.begin(letter + 1);
        }
        self.judge();
    }

    /// The turn of a letter has come. After a restart it may have been sent already.
    fn begin(&mut self, letter: usize) {
        if self.steps[letter] == Step::Left {
            // Before sequences that have not begun: what has begun is to end.
            self.ready.push_front(letter);
        } else {
            self.waiting.insert(letter);
        }
    }

    fn end_sequence(&mut self, sequence: usize, finished: bool) {
        let is_canary = sequence < CANARY;
        if finished {
            self.finished += 1;
            self.canary_finished += usize::from(is_canary);
        } else {
            self.failed += 1;
            self.canary_failed += usize::from(is_canary);
        }
    }

    /// Ends the job when all of it has ended, or when too many of the first sequences failed.
    fn judge(&mut self) {
        if self.state.is_over() {
            return;
        }
        if self.finished + self.failed == self.ends.len() {
            self.state = State::Done;
        } else if self.ends.len() > CANARY && self.canary_failed > CANARY - CANARY_FINISH {
            self.state = State::FailedCanary;
        }
    }

    fn is_canary_over(&self) -> bool {
        self.ends.len() <= CANARY || self.canary_finished >= CANARY_FINISH
    }

    /// Stops sending for now; false when the job is over.
    pub fn pause(&mut self) -> bool {
        self.command(State::Paused)
    }

    /// Goes on sending; false when the job is over.
    pub fn resume(&mut self) -> bool {
        self.command(State::Running)
    }

    /// Stops sending for good; false when the job is over.
    pub fn cancel(&mut self) -> bool {
        self.command(State::Cancelled)
    }

    fn command(&mut self, state: State) -> bool {
        if self.state.is_over() {
            return false;
        }
        self.state = state;
        true
    }

    /// How the job stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How far each letter is.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Letters that were sent and have no fate.
    pub fn waiting(&self) -> impl Iterator<Item = usize> + '_ {
        self.waiting.iter().copied()
    }

    /// Whether nothing is left to be sent or to be watched.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state.is_over() && self.waiting.is_empty()
    }

    /// How many sequences there are, have finished and have failed.
    #[must_use]
    pub fn sequences(&self) -> (usize, usize, usize) {
        (self.ends.len(), self.finished, self.failed)
    }

    /// Letters by how far they are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for step in &self.steps {
            let count = match step {
                Step::Left => &mut counts.left,
                Step::Sent => &mut counts.waiting,
                Step::Ended(Fate::Done) => &mut counts.done,
                Step::Ended(Fate::Dropped) => &mut counts.dropped,
                Step::Ended(Fate::Dead) => &mut counts.dead,
                Step::Ended(Fate::Missing) => &mut counts.missing,
            };
            *count += 1;
        }
        counts.sent = counts.waiting + counts.done + counts.dead;
        counts
    }

    fn start(&self, sequence: usize) -> usize {
        sequence
            .checked_sub(1)
            .map_or(0, |before| self.ends[before])
    }
}

#[cfg(test)]
mod tests;
