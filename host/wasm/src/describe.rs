//! What a component is, without compiling or running it.

use wit_component::DecodedWasm;

use crate::compile::{componentise, is_core_module};

/// What a file asks for and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// BLAKE3 of the file, hexadecimal: its identity.
    pub digest: String,
    /// Bytes of the file.
    pub size_bytes: usize,
    /// Whether the file is a core module with component metadata, componentised on load.
    pub core_module: bool,
    /// Interfaces and functions that it imports, sorted.
    pub imports: Vec<String>,
    /// Interfaces and functions that it exports, sorted.
    pub exports: Vec<String>,
}

/// Why a file cannot be described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DescribeError(String);

/// Reads imports and exports of a component, or of a core module with component metadata.
///
/// # Errors
///
/// When the bytes are neither; the message says what they look like.
pub fn describe(bytes: &[u8]) -> Result<Description, DescribeError> {
    // The decoder panics at a section that is longer than its file. A host decodes in the child that compiles.
    let looked = std::panic::catch_unwind(|| look(bytes));
    looked.unwrap_or_else(|_panic| {
        Err(DescribeError(
            "the component is damaged: its decoder gave up, build it again".to_owned(),
        ))
    })
}

fn look(bytes: &[u8]) -> Result<Description, DescribeError> {
    let component = componentise(bytes).map_err(DescribeError)?;
    let decoded = wit_component::decode(&component)
        .map_err(|error| DescribeError(format!("the component is invalid: {error:#}")))?;
    let (resolve, world) = match decoded {
        DecodedWasm::Component(resolve, world) => (resolve, world),
        DecodedWasm::WitPackage(..) => {
            return Err(DescribeError(
                "this is an encoded WIT package, no component".to_owned(),
            ));
        }
    };
    let world = &resolve.worlds[world];
    let mut imports: Vec<String> = world
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    let mut exports: Vec<String> = world
        .exports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    imports.sort_unstable();
    exports.sort_unstable();
    Ok(Description {
        digest: blake3::hash(bytes).to_hex().to_string(),
        size_bytes: bytes.len(),
        core_module: is_core_module(bytes),
        imports,
        exports,
    })
}
