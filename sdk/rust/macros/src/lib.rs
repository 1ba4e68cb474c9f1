//! The attribute of `weir-sdk`. It adds one line behind a function and so needs no parser of its own.

use proc_macro::{TokenStream, TokenTree};

/// Makes a function the handler of its component.
///
/// The function takes a `weir_sdk::Event<T>` and returns a `weir_sdk::Result` of what it emits. It stays an ordinary
/// function, so that `weir_sdk::testing::Harness` can call it natively. One component has one handler.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if !arguments.is_empty() {
        return error("#[weir_sdk::handler] takes no arguments");
    }
    let Some(name) = function_name(item.clone()) else {
        return error(
            "#[weir_sdk::handler] belongs on a function: fn handle(event: Event<T>) -> weir_sdk::Result<..>",
        );
    };
    let export: TokenStream = format!("::weir_sdk::export_handler!({name});")
        .parse()
        .expect("an identifier keeps it valid");
    item.into_iter().chain(export).collect()
}

/// The identifier behind the first `fn` outside of groups: attributes and `pub(crate)` are groups, so it is the item's own.
fn function_name(item: TokenStream) -> Option<String> {
    let mut tokens = item.into_iter();
    tokens.find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))?;
    match tokens.next()? {
        TokenTree::Ident(name) => Some(name.to_string()),
        TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    }
}

fn error(message: &str) -> TokenStream {
    format!("::core::compile_error!({message:?});")
        .parse()
        .expect("a quoted string keeps it valid")
}
