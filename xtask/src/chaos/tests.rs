use clap::{Command, FromArgMatches as _};

use super::*;

fn order(words: &str) -> Result<Order, clap::Error> {
    let words = ["chaos"].into_iter().chain(words.split_whitespace());
    let command = Order::augment_args(Command::new("chaos"));
    Order::from_arg_matches(&command.try_get_matches_from(words)?)
}

#[test]
fn minutes_and_brokers_mean_a_fleet_on_kafka_as_the_word_itself_does() {
    for (words, kafka, minutes, brokers) in [
        ("", false, 5, 1),
        ("--kills 3", false, 5, 1),
        ("--kafka", true, 5, 1),
        ("--minutes 5", true, 5, 1),
        ("--brokers 3", true, 5, 3),
        ("--kafka --minutes 2 --brokers 3", true, 2, 3),
    ] {
        let found = order(words).unwrap();
        let found = (found.kafka, found.minutes, found.brokers);
        assert_eq!(found, (kafka, minutes, brokers), "{words}");
    }
}

#[test]
fn a_fleet_and_the_kills_of_one_host_are_two_orders() {
    for fleet in ["--kafka", "--minutes 2", "--brokers 3"] {
        let both = format!("{fleet} --kills 3");
        assert!(order(&both).is_err(), "{both}");
    }
}
