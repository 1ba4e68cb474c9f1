//! What `wit-bindgen` makes of the contract. Nothing else in this crate names the component ABI.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::all,
    reason = "generated; the contract's own doc comments describe it"
)]

// The widest world: an interface that a handler never calls does not reach its component, so a component imports
// exactly what it uses and needs exactly the grants for that.
wit_bindgen::generate!({
    path: "../../wit/0.1.0",
    world: "full-event-handler",
    additional_derives: [PartialEq],
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "::weir_sdk::__private::bindings",
    runtime_path: "::weir_sdk::__private::wit_bindgen::rt",
});
