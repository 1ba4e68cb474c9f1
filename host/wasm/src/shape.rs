//! Whether the exported handler has the shape of the contract.
//!
//! wasmtime compares types when an instance is made, which is at the first event. A component that never fits is refused
//! before it takes events.

use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};

/// The function of the handler's interface.
const FUNCTION: &str = "handle";

/// `handle` of `weir:handler/handler@0.1.0`, as [`write_type`] writes it.
const EXPECTED: &str = "(event: record{id: string, source: string, type: string, subject: option<string>, \
    time: option<string>, datacontenttype: option<string>, dataschema: option<string>, \
    extensions: list<tuple<string, string>>, data: option<list<u8>>}) -> \
    result<list<record{type: string, topic: option<string>, key: variant{inherit, keyless, text(string), \
    binary(list<u8>)}, id: option<string>, subject: option<string>, time: option<string>, \
    datacontenttype: option<string>, dataschema: option<string>, extensions: list<tuple<string, string>>, \
    data: option<list<u8>>, delay-ms: option<u64>}>, record{kind: enum{transient, unavailable, permanent}, \
    code: string, message: string, retry-after-ms: option<u64>}>";

/// What a handler under this name lacks; none when it fits.
pub(crate) fn misfit(component: &Component, handler: &str) -> Option<String> {
    let engine = component.engine();
    let ty = component.component_type();
    let interface = ty.exports(engine).find(|(name, _)| *name == handler);
    let Some(ComponentItem::ComponentInstance(interface)) = interface.map(|(_, item)| item.ty)
    else {
        return Some("it is no interface".to_owned());
    };
    let function = interface
        .exports(engine)
        .find(|(name, _)| *name == FUNCTION);
    let Some(ComponentItem::ComponentFunc(function)) = function.map(|(_, item)| item.ty) else {
        return Some(format!("it has no function `{FUNCTION}`"));
    };
    let misses = signature(&function) != EXPECTED;
    misses.then(|| format!("`{FUNCTION}` takes or returns something else"))
}

fn signature(function: &ComponentFunc) -> String {
    let mut text = "(".to_owned();
    fields(&mut text, function.params());
    text.push_str(") -> ");
    for result in function.results() {
        write_type(&mut text, &result);
    }
    text
}

fn fields<'a>(text: &mut String, fields: impl Iterator<Item = (&'a str, Type)>) {
    for (at, (name, ty)) in fields.enumerate() {
        text.push_str(if at == 0 { "" } else { ", " });
        text.push_str(name);
        text.push_str(": ");
        write_type(text, &ty);
    }
}

/// Ends early in what is not the contract: types may be as large as their component.
fn write_type(text: &mut String, ty: &Type) {
    if text.len() > EXPECTED.len() {
        return;
    }
    let around = |text: &mut String, before: &str, inner: &[Type]| {
        text.push_str(before);
        for (at, ty) in inner.iter().enumerate() {
            text.push_str(if at == 0 { "<" } else { ", " });
            write_type(text, ty);
        }
        text.push('>');
    };
    match ty {
        Type::U8 => text.push_str("u8"),
        Type::U64 => text.push_str("u64"),
        Type::String => text.push_str("string"),
        Type::List(list) => around(text, "list", &[list.ty()]),
        Type::Option(option) => around(text, "option", &[option.ty()]),
        Type::Tuple(tuple) => around(text, "tuple", &tuple.types().collect::<Vec<_>>()),
        Type::Result(result) => {
            let both: Vec<_> = result.ok().into_iter().chain(result.err()).collect();
            around(text, "result", &both);
        }
        Type::Record(record) => {
            text.push_str("record{");
            fields(text, record.fields().map(|field| (field.name, field.ty)));
            text.push('}');
        }
        Type::Enum(names) => {
            text.push_str("enum{");
            text.push_str(&names.names().collect::<Vec<_>>().join(", "));
            text.push('}');
        }
        Type::Variant(variant) => {
            text.push_str("variant{");
            for (at, case) in variant.cases().enumerate() {
                text.push_str(if at == 0 { "" } else { ", " });
                text.push_str(case.name);
                if let Some(ty) = case.ty {
                    text.push('(');
                    write_type(text, &ty);
                    text.push(')');
                }
            }
            text.push('}');
        }
        Type::Bool
        | Type::S8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::Float32
        | Type::Float64
        | Type::Char
        | Type::Map(_)
        | Type::Flags(_)
        | Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext
        | Type::FixedLengthList(_) => text.push('?'),
    }
}
