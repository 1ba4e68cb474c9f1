//! CloudEvents subscription filters: `exact`, `prefix`, `suffix`, `all`, `any` and `not`
//! ([CloudEvents Subscriptions 1.0, 3.2.4](https://github.com/cloudevents/spec/blob/main/subscriptions/spec.md#324-filters)).

use toml::Value;
use weir_core::event::Event;

/// Nesting beyond this is a mistake, and evaluation is recursive.
const DEPTH_MAX: usize = 16;

/// Which events a handler wants: those that pass all expressions, so an empty filter admits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Expression>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    /// Every attribute is there and its value compares.
    Attributes(Comparison, Vec<(String, String)>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Exact,
    Prefix,
    Suffix,
}

/// What is wrong with a filter, and where below `filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilterError {
    pub(super) place: String,
    pub(super) message: String,
}

impl Filter {
    /// Whether the handler wants this event.
    #[must_use]
    pub fn admits(&self, event: &Event) -> bool {
        self.0.iter().all(|expression| expression.admits(event))
    }

    pub(super) fn parse(value: &Value) -> Result<Self, FilterError> {
        Expression::parse_list(value, "", 0).map(Self)
    }
}

impl Expression {
    fn admits(&self, event: &Event) -> bool {
        match self {
            Self::Attributes(comparison, pairs) => pairs.iter().all(|(name, wanted)| {
                event.attribute(name).is_some_and(|found| match comparison {
                    Comparison::Exact => found == wanted,
                    Comparison::Prefix => found.starts_with(wanted.as_str()),
                    Comparison::Suffix => found.ends_with(wanted.as_str()),
                })
            }),
            Self::All(list) => list.iter().all(|expression| expression.admits(event)),
            Self::Any(list) => list.iter().any(|expression| expression.admits(event)),
            Self::Not(expression) => !expression.admits(event),
        }
    }

    fn parse_list(value: &Value, place: &str, depth: usize) -> Result<Vec<Self>, FilterError> {
        let list = value.as_array().ok_or_else(|| {
            error(
                place,
                "must be a list, as in [{ exact = { type = \"InvoiceCreated\" } }]",
            )
        })?;
        list.iter()
            .enumerate()
            .map(|(index, value)| Self::parse(value, &format!("{place}[{index}]"), depth + 1))
            .collect()
    }

    fn parse(value: &Value, place: &str, depth: usize) -> Result<Self, FilterError> {
        const SHAPE: &str = "must be one of { exact = .. }, { prefix = .. }, { suffix = .. }, { all = [..] }, \
                             { any = [..] }, { not = .. }";
        if depth > DEPTH_MAX {
            return Err(error(place, format!("is nested deeper than {DEPTH_MAX}")));
        }
        let mut entries = value.as_table().ok_or_else(|| error(place, SHAPE))?.iter();
        let (Some((dialect, value)), None) = (entries.next(), entries.next()) else {
            return Err(error(place, SHAPE));
        };
        let place = format!("{place}.{dialect}");
        let attributes = |comparison| Ok(Self::Attributes(comparison, pairs(value, &place)?));
        match dialect.as_str() {
            "exact" => attributes(Comparison::Exact),
            "prefix" => attributes(Comparison::Prefix),
            "suffix" => attributes(Comparison::Suffix),
            "all" => not_empty(Self::parse_list(value, &place, depth)?, &place).map(Self::All),
            "any" => not_empty(Self::parse_list(value, &place, depth)?, &place).map(Self::Any),
            "not" => Ok(Self::Not(Box::new(Self::parse(value, &place, depth + 1)?))),
            "sql" => Err(error(
                &place,
                "is not in this release: use exact, prefix, suffix, all, any, not",
            )),
            _ => Err(error(&place, SHAPE)),
        }
    }
}

fn pairs(value: &Value, place: &str) -> Result<Vec<(String, String)>, FilterError> {
    const SHAPE: &str = "must name attributes and texts, as in { type = \"InvoiceCreated\" }";
    let table = value.as_table().ok_or_else(|| error(place, SHAPE))?;
    let pair = |(name, value): (&String, &Value)| {
        let attribute = format!("{place}.{name}");
        let named = !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !named {
            return Err(error(
                &attribute,
                "is no attribute's name: lower-case letters and digits",
            ));
        }
        let text = value.as_str().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| error(&attribute, "must be a text that is not empty"))?;
        Ok((name.clone(), text.to_owned()))
    };
    not_empty(
        table.iter().map(pair).collect::<Result<Vec<_>, _>>()?,
        place,
    )
}

fn not_empty<T>(list: Vec<T>, place: &str) -> Result<Vec<T>, FilterError> {
    if list.is_empty() {
        Err(error(place, "is empty: must have at least one entry"))
    } else {
        Ok(list)
    }
}

fn error(place: &str, message: impl Into<String>) -> FilterError {
    FilterError {
        place: place.to_owned(),
        message: message.into(),
    }
}

#[cfg(test)]
mod tests;
