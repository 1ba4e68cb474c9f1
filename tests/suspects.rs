//! How many events may die of the ends of their hosts that had no part in them.

/// Dead letters of crash suspects at most, of hosts that were ended so often.
///
/// An event dies of three ends that found it marked alone, and is marked alone because an end before them left it a
/// suspect: of four ends at least. Whoever was counted once is marked only in the silence of its host, which one event has
/// at a time, so an end counts no more than one for the second or the third time. Two ends come before the first of those,
/// and each letter takes two of the others for itself.
///
/// A ledger that does not say within ten seconds whether it has a mark gives the silence to another event, and an end may
/// count both. Even then no event dies of fewer than four ends, and more letters than these take several ends that each
/// find such a ledger.
fn most(ends: u64) -> u64 {
    ends.saturating_sub(2) / 2
}

/// That so many are not too many.
///
/// # Errors
/// They are.
pub(crate) fn check(letters: u64, ends: u64) -> anyhow::Result<()> {
    let most = most(ends);
    anyhow::ensure!(
        letters <= most,
        "{letters} events died as suspects of {ends} ends of hosts, which can be held against {most}"
    );
    Ok(())
}
