//! The opening rules against a model that remembers everything and recomputes, and the rest against chance.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// Outcomes since it last opened: when, of what, what.
#[derive(Default)]
struct Model(Vec<(Millis, Trial, Sample)>);

impl Model {
    fn opens(&self, config: &Config, now: Millis) -> bool {
        let counted = |sample: &Sample| {
            matches!(
                sample,
                Sample::Transient | Sample::Unavailable | Sample::Ledger
            )
        };
        // What fails again is known.
        let is_new =
            |(_, trial, sample): &&(Millis, Trial, Sample)| !(trial.again && counted(sample));
        let new = || self.0.iter().filter(is_new);
        let row: BTreeSet<u64> = new()
            .rev()
            .take_while(|(_, _, sample)| counted(sample))
            .map(|(_, trial, _)| trial.sequence)
            .collect();
        let is_row = row.len() >= config.row.max(config.sequences_min);

        let unavailable: BTreeSet<u64> = self
            .0
            .iter()
            .filter(|(at, _, sample)| {
                *sample == Sample::Unavailable && now.since(*at) <= config.unavailable_within
            })
            .map(|(_, trial, _)| trial.sequence)
            .collect();
        let is_unavailable = unavailable.len() >= config.unavailable.max(config.sequences_min);

        // The latest outcome of each sequence, the sequences by when they were last heard of.
        let mut latest: BTreeMap<u64, (usize, Millis, Sample)> = BTreeMap::new();
        for (serial, (at, trial, sample)) in new().enumerate() {
            latest.insert(trial.sequence, (serial, *at, *sample));
        }
        let mut latest: Vec<_> = latest
            .into_values()
            .filter(|(_, at, _)| now.since(*at) < config.window)
            .collect();
        latest.sort_by_key(|(serial, _, _)| std::cmp::Reverse(*serial));
        latest.truncate(config.window_sequences_max.into());
        let total = latest.len();
        let of = |what: &dyn Fn(&Sample) -> bool| {
            latest.iter().filter(|(_, _, sample)| what(sample)).count()
        };
        let (failures, traps) = (of(&counted), of(&|sample| *sample == Sample::Trap));
        let is_share = total >= config.outcomes_min
            && failures >= config.sequences_min
            && failures * 100 >= total * config.failure_percent;
        let is_flood = total >= config.outcomes_min
            && traps >= config.sequences_min
            && traps * 100 > total * config.trap_percent;
        is_row || is_unavailable || is_share || is_flood
    }
}

fn trial() -> impl Strategy<Value = Trial> {
    let again = proptest::bool::weighted(0.3);
    (0_u64..40, again).prop_map(|(sequence, again)| Trial { sequence, again })
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        12 => Just(Sample::Success),
        3 => Just(Sample::Transient),
        1 => Just(Sample::Unavailable),
        1 => Just(Sample::Ledger),
        4 => Just(Sample::Trap),
        2 => Just(Sample::Permanent),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_opens_exactly_when_the_rules_say_so(
        steps in proptest::collection::vec((0_u64..8_000, trial(), sample()), 1..300),
        window_sequences_max in 6_u16..40,
    ) {
        // Numbers small enough for every rule to be met and missed often.
        let config = Config { window_sequences_max, outcomes_min: 6, row: 5, ..Config::default() };
        let mut bench = Bench::new(config);
        let mut model = Model::default();
        for (gap_ms, trial, sample) in steps {
            bench.pass(Duration::from_millis(gap_ms));
            if trial.again {
                bench.attempt_again(trial.sequence, sample);
            } else {
                bench.attempt(trial.sequence, sample);
            }
            if sample != Sample::Permanent {
                model.0.push((bench.now, trial, sample));
            }
            let opens = sample != Sample::Permanent && model.opens(&config, bench.now);
            prop_assert_eq!(matches!(bench.state(), State::Open { .. }), opens);
            if opens {
                bench = Bench { breaker: Breaker::new(config, bench.now), now: bench.now };
                model = Model::default();
            }
        }
    }

    /// Whatever is asked in whatever order, it answers, and recovers once everything succeeds.
    #[test]
    fn it_never_panics_and_never_sticks(
        steps in proptest::collection::vec((-20_000_i64..20_000, 0_u64..6, 0_u8..8, sample()), 1..200),
        while_open in prop_oneof![Just(WhileOpen::Pause), Just(WhileOpen::Park), Just(WhileOpen::Fallback)],
    ) {
        let mut bench = Bench::new(Config { while_open, ..Config::default() });
        let mut tickets = Vec::new();
        for (gap_ms, sequence, action, sample) in steps {
            bench.now = Millis(bench.now.0.saturating_add_signed(gap_ms));
            let ticket = tickets.pop();
            match (action, ticket) {
                (0, Some(ticket)) => {
                    bench.breaker.abandoned(bench.now, ticket);
                }
                (1..4, Some(ticket)) => {
                    bench.breaker.record(bench.now, ticket, sample);
                }
                (4, _) => {
                    bench.breaker.ledger_failed(bench.now, sequence);
                }
                (5, _) => {
                    bench.breaker.died(bench.now, sequence, sample);
                }
                _ => {
                    tickets.extend(ticket);
                    if let Permit::Go(ticket) = bench.permit(sequence) {
                        tickets.push(ticket);
                    }
                }
            }
            let next = bench.breaker.next_change(bench.now);
            prop_assert!(next.is_none_or(|next| next > bench.now));
        }
        for sequence in 0..10_000_u64 {
            if bench.state() == State::Closed {
                break;
            }
            if let Permit::Go(ticket) = bench.permit(sequence % 2) {
                bench.breaker.record(bench.now, ticket, Sample::Success);
            }
            bench.pass(Duration::from_millis(500));
        }
        prop_assert_eq!(bench.state(), State::Closed);
    }
}
