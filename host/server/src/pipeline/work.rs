//! What the machine asks for: attempts, reads of the ledger, commits; and what became of them.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_core::gate::Crowded;
use weir_core::partition::{Action, Attempt, Load, Loaded};
use weir_core::time::Millis;
use weir_core::unit::CommitResult;
use weir_wasm::{StateView, TimersView};

use super::components::Components;
use super::views::SequenceView;
use super::{Ended, Run, Subscription, Worker, decode};
use crate::alarm::Alarm;
use crate::clock;
use crate::fail::{self, Point};
use crate::ledger::LedgerError;

impl Worker {
    /// Does what the machine asks for. An attempt that ends at its first poll, as most do, costs no queueing. One that
    /// does not may have used up its tick, and cuts the work short: true then, so that other partitions come first.
    pub(super) fn work(&mut self) -> bool {
        let waker = futures_util::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        let components = Components::of(&self.subscription);
        let mut now = clock::now();
        let mut is_cut_short = false;
        while let Some(action) = self.next_action(now, &components) {
            match action {
                Action::Attempt(attempt) => {
                    let mut run = self.attempt(now, *attempt, &components);
                    match run.as_mut().poll(&mut context) {
                        std::task::Poll::Ready(ended) => now = self.ended(ended),
                        std::task::Poll::Pending => {
                            self.running.push(run);
                            is_cut_short = true;
                            break;
                        }
                    }
                }
                Action::Load(load) => {
                    let loaded = self.load(&load);
                    now = clock::now();
                    self.machine.handle_loaded(now, load, loaded);
                }
                Action::Commit(unit) => {
                    let number = unit.number;
                    let scope = &self.subscription.deployment.scope;
                    let commit = self
                        .subscription
                        .ledger
                        .commit(scope, self.partition, *unit);
                    let since = Instant::now();
                    self.commit = Some(Box::pin(async move {
                        let result = commit.await;
                        if fail::fails(Point::UnitUnanswered) {
                            return pending().await;
                        }
                        (number, result, since.elapsed())
                    }));
                }
            }
        }
        self.subscription.gate.take_in(now, &mut self.successes);
        is_cut_short
    }

    fn next_action(&mut self, now: Millis, components: &Components) -> Option<Action> {
        self.crowded = components.crowded();
        let crowded = Crowded {
            own: self.crowded.own.is_some(),
            fallback: self.crowded.fallback.is_some(),
        };
        let mut gate = self.subscription.gate.pass(crowded, &mut self.successes);
        // Sleep moves the clock.
        if self.slept_at != now {
            self.slept_at = now;
            self.machine.handle_sleep(clock::slept());
        }
        self.machine.poll_action(now, &mut gate)
    }

    /// Answers when that was.
    pub(super) fn ended(&mut self, ended: Ended) -> Millis {
        fail::pass(Point::AttemptEnded);
        let Ended {
            id,
            outcome,
            component,
        } = ended;
        if let Some(component) = component {
            self.machine.handle_component(component.digest());
            let lines = component.take_dropped_lines();
            self.subscription.status.dropped(lines);
        }
        let mut gate = self
            .subscription
            .gate
            .pass(Crowded::default(), &mut self.successes);
        let now = clock::now();
        self.machine.handle_outcome(now, &mut gate, id, outcome);
        now
    }

    fn load(&self, load: &Load) -> Loaded {
        self.read(load).unwrap_or_else(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "read failed, trying again"
            );
            Loaded::Unavailable
        })
    }

    fn read(&self, load: &Load) -> Result<Loaded, LedgerError> {
        let Subscription {
            deployment, ledger, ..
        } = &*self.subscription;
        let (scope, partition, ledger) = (&deployment.scope, self.partition, ledger.committed());
        Ok(match load {
            Load::Parked(sequence) => {
                let head = ledger.parked_head(scope, partition, sequence)?;
                Loaded::Parked(head.map(|event| {
                    let decoded = decode::stored(&event.record, &event.origin, deployment);
                    (event, decoded)
                }))
            }
            Load::Timer(_, key) => {
                let timer = ledger.timer(scope, partition, key)?;
                Loaded::Timer(timer.map(|timer| {
                    let decoded = decode::timer(&timer.out.record);
                    (timer, decoded)
                }))
            }
            Load::Mark(_, id, units) => Loaded::Mark(ledger.marked(scope, partition, *id, units)?),
            Load::Timers(after, max) => {
                Loaded::Timers(ledger.timers(scope, partition, Some(*after), *max)?)
            }
            Load::TimersOf(sequence) => {
                Loaded::Timers(ledger.timers_of(scope, partition, sequence)?)
            }
            Load::Letter(_, letter, sequence) => Loaded::Letter(
                ledger.letter(scope, partition, *letter)?,
                ledger.parked_head(scope, partition, sequence)?,
            ),
        })
    }

    fn attempt(&self, now: Millis, attempt: Attempt, components: &Components) -> Run {
        fail::attempt(&attempt.event.id);
        let manifest = &self.subscription.deployment.manifest;
        let component = if attempt.fallback {
            components.fallback.clone()
        } else {
            components.own.clone()
        };
        let own = !attempt.fallback;
        let grants = &manifest.grants;
        let view = (own && (grants.state || grants.timers)).then(|| SequenceView {
            subscription: Arc::clone(&self.subscription),
            partition: self.partition,
            sequence: attempt.sequence,
            staged: attempt.staged,
        });
        let timers = view.clone().filter(|_| grants.timers);
        let timers = timers.map(|view| Box::new(view) as Box<dyn TimersView>);
        let state = view.filter(|_| grants.state);
        let state = state.map(|view| Box::new(view) as Box<dyn StateView>);
        let key = attempt.event.key(&attempt.record).cloned();
        let input = weir_wasm::Attempt {
            event: attempt.event,
            number: attempt.number,
            tenant: attempt.tenant,
            topic: attempt.origin.topic,
            partition: attempt.origin.partition,
            position: attempt.origin.offset,
            key,
            now,
            state,
            timers,
        };
        let id = attempt.id;
        Box::pin(async move {
            match component {
                Some(component) => Ended {
                    id,
                    outcome: component.call(input).await,
                    component: own.then_some(component),
                },
                // Taken out of the table while its partitions stop: the attempt stays unanswered and uncounted.
                None => pending().await,
            }
        })
    }

    pub(super) fn committed(&mut self, number: u64, result: CommitResult, time: Duration) {
        fail::pass(Point::UnitCommitted);
        self.commit = None;
        let (status, partition) = (&self.subscription.status, Some(self.partition));
        status.committed(time);
        match &result {
            CommitResult::Committed => status.clear(Alarm::CommitFailing, partition),
            CommitResult::Refused {
                item,
                code,
                message,
            } => {
                status.clear(Alarm::CommitFailing, partition);
                tracing::warn!(%code, %message, ?item, "output refused, event dies");
            }
            CommitResult::Moved => status.clear(Alarm::CommitFailing, partition),
            CommitResult::Unavailable { message } => {
                status.raise(Alarm::CommitFailing, partition, message);
            }
        }
        let mut gate = self
            .subscription
            .gate
            .pass(Crowded::default(), &mut self.successes);
        self.machine
            .handle_commit(clock::now(), &mut gate, number, result);
    }
}
