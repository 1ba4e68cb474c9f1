//! A job at work: sends what is next, hears what became of what was sent, and writes how far it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_core::command::{self, Kind};
use weir_core::replay::{Fate, Next, Replay, Step};

use super::{Job, Now, Planned, command_end, command_ends};
use crate::clock;
use crate::handlers::chain;
use crate::letters::{self, LettersError, Status};
use crate::lookup::{Known, OfLetter};
use crate::names;

/// Between two looks at what became of letters.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two writes of how far the job is; what was sent since is found in the command topic.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// After a failure of the bus or the ledger.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Goes on with a job of an earlier start.
pub(super) async fn resume(job: Arc<Job>, stop: CancellationToken) {
    while let Err(error) = job.find_sent().await {
        job.tell(&error);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(BACK_OFF) => {}
        }
    }
    run(job, stop).await;
}

/// Works until everything has ended, or the host stops.
pub(super) async fn run(job: Arc<Job>, stop: CancellationToken) {
    let mut worker = Worker {
        sent_before: vec![None; job.letters.len()],
        kept: Instant::now(),
        is_kept: true,
    };
    // Whoever runs it by now goes on with what was written.
    while job.is_own() {
        let wait = worker.work(&job).await.unwrap_or_else(|error| {
            job.tell(&error);
            BACK_OFF
        });
        if !worker.is_kept && (worker.kept.elapsed() >= KEEP_EVERY || job.is_settled()) {
            match job.keep().await {
                Ok(()) => (worker.kept, worker.is_kept) = (Instant::now(), true),
                Err(error) => job.tell(&error),
            }
        }
        if job.is_settled() && worker.is_kept {
            let state = job.lock().replay.state().name();
            tracing::info!(job = job.id, state, "replay ended");
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {
                if let Err(error) = job.keep().await {
                    job.tell(&error);
                }
                return;
            }
            () = job.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Worker {
    /// By letter, an end of the command topic that its command stands before, once the bus has said it.
    sent_before: Vec<Option<u64>>,
    kept: Instant,
    is_kept: bool,
}

impl Worker {
    /// Does what can be done; answers when to look again.
    async fn work(&mut self, job: &Job) -> Result<Duration, LettersError> {
        self.hear(job).await?;
        loop {
            let now = clock::now();
            let next = job.lock().replay.poll(now);
            match next {
                Next::Wait(None) => return Ok(LOOK_EVERY),
                Next::Wait(Some(at)) => return Ok(at.since(now).min(LOOK_EVERY)),
                Next::Send(letter) => {
                    let done = self.send(job, letter).await;
                    if done.is_err() {
                        job.lock().replay.handle_unsent(letter);
                    }
                    done?;
                }
            }
        }
    }

    /// Takes the fates of letters that were sent.
    async fn hear(&mut self, job: &Job) -> Result<(), LettersError> {
        let waiting: Vec<_> = job.lock().replay.waiting().collect();
        self.find_ends(job, &waiting).await?;
        let asked = waiting.iter().map(|letter| job.letters[*letter].asked());
        let known = letters::known(&job.subscription, asked.collect()).await?;
        for (letter, (obeyed, Known { status, .. })) in waiting.into_iter().zip(known) {
            // A letter that is dead and whose command was not obeyed has not died again.
            if self.sent_before[letter].is_none_or(|end| obeyed < end) {
                continue;
            }
            if let Some(fate) = fate(status) {
                job.lock().replay.handle_fate(letter, fate);
                self.is_kept = false;
            }
        }
        Ok(())
    }

    /// Asks once for each partition how far commands reach that letters were sent to since.
    async fn find_ends(&mut self, job: &Job, waiting: &[usize]) -> Result<(), LettersError> {
        let mut ends = HashMap::new();
        for &letter in waiting {
            if self.sent_before[letter].is_some() {
                continue;
            }
            let partition = job.letters[letter].place.partition;
            let end = match ends.get(&partition) {
                Some(end) => *end,
                None => command_end(&job.subscription, partition).await?,
            };
            ends.insert(partition, end);
            self.sent_before[letter] = Some(end);
            if let Some(known) = job.lock().commands.get_mut(partition as usize) {
                *known = end;
            }
        }
        Ok(())
    }

    /// Sends a letter whose turn has come, unless it is not dead any more.
    async fn send(&mut self, job: &Job, letter: usize) -> Result<(), LettersError> {
        let planned = job.letters[letter];
        self.is_kept = false;
        let known = letters::known(&job.subscription, vec![planned.asked()]).await?;
        let status = known.first().map(|(_, known)| known.status);
        match status.and_then(fate) {
            // Somebody else has sent it: its fate is the same.
            None => {
                job.lock().replay.handle_sent(letter);
                return Ok(());
            }
            Some(Fate::Dead) => {}
            Some(fate) => {
                job.lock().replay.handle_fate(letter, fate);
                return Ok(());
            }
        }
        let opened = letters::open(&job.subscription, planned.place).await?;
        let Some((found, record)) = opened.filter(|(found, _)| found.id == planned.id) else {
            job.lock().replay.handle_fate(letter, Fate::Missing);
            return Ok(());
        };
        let partition = planned.place.partition;
        let commands = vec![(partition, Kind::Replay, found, record)];
        letters::command(&job.subscription, commands).await?;
        self.sent_before[letter] = None;
        job.lock().replay.handle_sent(letter);
        Ok(())
    }
}

impl Job {
    /// Marks what was sent after progress was last written.
    async fn find_sent(&self) -> Result<(), LettersError> {
        let (mut steps, from) = {
            let now = self.lock();
            (now.replay.steps().to_vec(), now.commands.clone())
        };
        let by_id: HashMap<_, _> = self.letters.iter().map(|one| one.id).zip(0..).collect();
        let topic = names::commands_topic(&self.subscription.deployment.scope.group);
        let ends = command_ends(&self.subscription).await?;
        for ((partition, mut next), end) in (0..).zip(from).zip(&ends) {
            if next >= *end {
                continue;
            }
            let reader = self.subscription.bus.reader(&topic, partition, next);
            let mut reader = reader.await?;
            while next < *end {
                let source = (&*topic, partition);
                for (_, record) in letters::fetch(&mut *reader, source, &mut next).await? {
                    let Ok((command, _)) = command::from_record(record) else {
                        continue;
                    };
                    let known: Option<&usize> = by_id.get(&command.letter);
                    if let Some(letter) = known.filter(|_| command.kind == Kind::Replay)
                        && steps[*letter] == Step::Left
                    {
                        steps[*letter] = Step::Sent;
                    }
                }
            }
        }
        let mut now = self.lock();
        let state = now.replay.state();
        let replay = Replay::new(&self.lengths, self.per_second, state, steps);
        *now = Now {
            replay,
            commands: ends,
        };
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.lock().replay.is_settled()
    }

    fn tell(&self, error: &(dyn std::error::Error + 'static)) {
        let handler = &self.subscription.deployment.manifest.name;
        tracing::warn!(%handler, job = self.id, error = chain(error), "replay is held up, trying again");
    }
}

/// What a status says of a letter; none while it has no fate.
fn fate(status: Status) -> Option<Fate> {
    match status {
        Status::Replaying => None,
        Status::Done => Some(Fate::Done),
        Status::Dropped => Some(Fate::Dropped),
        Status::Dead | Status::Held => Some(Fate::Dead),
    }
}

impl Planned {
    /// What its owner is asked.
    fn asked(&self) -> (u32, OfLetter) {
        let letter = OfLetter {
            id: self.id.to_uuid(),
            held: None,
        };
        (self.place.partition, letter)
    }
}
