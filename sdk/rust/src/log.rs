//! Log lines with fields. The host adds which handler, version and event they come from.

pub use crate::bindings::weir::handler::log::Level;

/// Writes one line; the macros are the way here.
pub fn write(level: Level, message: &str, fields: &[(String, String)]) {
    crate::host::log::write(level, message, fields);
}

/// Makes a panic an error line before it becomes a trap: a core module has no standard error that could carry it.
pub(crate) fn report_panics() {
    #[cfg(target_family = "wasm")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                write(Level::Error, &panic.to_string(), &[])
            }))
        });
    }
}

/// A line of any level: `field = value` pairs, then a format string and its arguments.
#[doc(hidden)]
#[macro_export]
macro_rules! write_log {
    ($level:ident, $($field:ident = $value:expr,)* $message:literal $(, $argument:expr)* $(,)?) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($message $(, $argument)*),
            &[$((::std::string::String::from(::core::stringify!($field)), ::std::string::ToString::to_string(&$value))),*],
        )
    };
}

/// Logs what an author follows in detail: `trace!(customer = id, "total {total}")`.
#[macro_export]
macro_rules! trace {
    ($($line:tt)+) => { $crate::write_log!(Trace, $($line)+) };
}

/// Logs a change of state: `debug!(customer = id, "total {total}")`.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::write_log!(Debug, $($line)+) };
}

/// Logs what an operator wants to see: `info!(customer = id, "total {total}")`.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::write_log!(Info, $($line)+) };
}

/// Logs what is worth a look in the morning: `warn!(customer = id, "total {total}")`.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::write_log!(Warn, $($line)+) };
}

/// Logs what went wrong for good: `error!(customer = id, "total {total}")`.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::write_log!(Error, $($line)+) };
}
