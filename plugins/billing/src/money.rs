//! Amounts of money, in whole cents: decimals are exact there and nowhere in binary fractions.

use std::{error::Error, fmt};

/// Not an amount such as `11.77`, `12` or `0.5`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidAmount(String);

impl fmt::Display for InvalidAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "amount {:?} is not a decimal with at most two places",
            self.0
        )
    }
}

impl Error for InvalidAmount {}

/// Reads a decimal without sign and with at most two places as cents.
pub(crate) fn parse_cents(amount: &str) -> Result<u64, InvalidAmount> {
    cents(amount).ok_or_else(|| InvalidAmount(amount.to_owned()))
}

fn cents(amount: &str) -> Option<u64> {
    let (whole, places) = amount
        .split_once('.')
        .map_or((amount, "00"), |(whole, places)| (whole, places));
    let fraction = match places.len() {
        1 => digits(places)? * 10,
        2 => digits(places)?,
        _ => return None,
    };
    digits(whole)?.checked_mul(100)?.checked_add(fraction)
}

/// `u64::from_str` alone would accept a leading plus sign.
fn digits(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}
