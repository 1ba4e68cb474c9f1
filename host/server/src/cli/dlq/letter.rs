//! `weir dlq show`.

use std::fmt::Write as _;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::steer::HandlerArgs;
use crate::cli::{CliError, table};
use crate::names::printable;

/// Bytes of data that are no text: what fits on a screen.
const HEX_BYTES_MAX: usize = 1024;
const HEX_WIDTH: usize = 16;

#[derive(Deserialize)]
struct Page {
    id: String,
    status: String,
    message: String,
    letter_headers: Vec<Header>,
    headers: Vec<Header>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_base64: Option<String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    data_base64: Option<String>,
    #[serde(default)]
    data_bytes: usize,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
}

pub(super) fn show(
    handler: &HandlerArgs,
    letter: &str,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    use crate::cli::client::segment;
    let answer = handler.get(&format!("letters/{}", segment(letter)), &[])?;
    if handler.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    write(&handler.read(answer)?, out)
}

fn write(page: &Page, out: &mut dyn Write) -> Result<(), CliError> {
    writeln!(
        out,
        "letter {}, {}: {}",
        page.id,
        page.status,
        printable(&page.message)
    )?;
    writeln!(out, "\nwhy it died")?;
    // A backtrace has lines of its own.
    let (long, short): (Vec<_>, Vec<_>) = page.letter_headers.iter().partition(|header| {
        header
            .value
            .as_ref()
            .is_some_and(|text| text.contains('\n'))
    });
    write_headers(&short, out)?;
    for header in long {
        writeln!(out, "  {}", printable(&header.name))?;
        for line in header.value.as_deref().unwrap_or_default().lines() {
            writeln!(out, "    {}", printable(line))?;
        }
    }
    let key = text(page.key.as_deref(), page.key_base64.as_deref());
    writeln!(out, "\nthe record, key {}", printable(&key))?;
    write_headers(&page.headers.iter().collect::<Vec<_>>(), out)?;
    writeln!(out)?;
    write_data(page, out)
}

fn write_headers(headers: &[&Header], out: &mut dyn Write) -> Result<(), CliError> {
    let rows: Vec<_> = headers
        .iter()
        .map(|header| {
            let value = text(header.value.as_deref(), header.value_base64.as_deref());
            vec![header.name.clone(), value]
        })
        .collect();
    Ok(table::write_rows(out, &rows)?)
}

fn write_data(page: &Page, out: &mut dyn Write) -> Result<(), CliError> {
    let shown = match (&page.data, &page.data_base64) {
        (Some(data), _) => {
            // Laid out where it is JSON and whole.
            let json = serde_json::from_str::<Value>(data);
            let laid_out = json.and_then(|json| serde_json::to_string_pretty(&json));
            let laid_out = laid_out.unwrap_or_else(|_| data.clone());
            for line in laid_out.lines() {
                writeln!(out, "{}", printable(line))?;
            }
            data.len()
        }
        (None, Some(base64)) => {
            let bytes = BASE64.decode(base64).unwrap_or_default();
            let shown = &bytes[..bytes.len().min(HEX_BYTES_MAX)];
            out.write_all(hex(shown).as_bytes())?;
            shown.len()
        }
        (None, None) => return Ok(writeln!(out, "no data")?),
    };
    if shown < page.data_bytes {
        writeln!(out, "... {shown} of {} bytes", page.data_bytes)?;
    }
    Ok(())
}

/// `00000010  00 ff 41 ..  |..A..|`
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, bytes) in bytes.chunks(HEX_WIDTH).enumerate() {
        let mut digits = String::new();
        for byte in bytes {
            let _ = write!(digits, "{byte:02x} ");
        }
        let text: String = bytes
            .iter()
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => '.',
            })
            .collect();
        let width = HEX_WIDTH * 3;
        let _ = writeln!(out, "{:08x}  {digits:<width$} |{text}|", line * HEX_WIDTH);
    }
    out
}

fn text(text: Option<&str>, base64: Option<&str>) -> String {
    match (text, base64) {
        (Some(text), _) => text.to_owned(),
        (None, Some(base64)) => format!("base64:{base64}"),
        (None, None) => "-".to_owned(),
    }
}
