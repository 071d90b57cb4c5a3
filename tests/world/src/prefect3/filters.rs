//! The filters of the `…/filter` operations: read from the body, then asked of each row.

use super::{StateType, answer::Outcome, fields::Fields, state::UNKNOWN_TYPE};
use serde_json::Value;
use time::OffsetDateTime;

/// The value of a row's column, as filters look at it.
pub(super) enum Column<'a> {
    /// A text, or null.
    Text(Option<&'a str>),
    /// A point in time, or null.
    Time(Option<OffsetDateTime>),
    /// A point in time, or null, and what the limits look at instead.
    Start(Option<OffsetDateTime>, Option<OffsetDateTime>),
    /// Tags.
    Tags(&'a [String]),
    /// A truth value.
    Flag(bool),
}

/// What a column's criteria may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// UUIDs: `any_`, `not_any_`, `is_null_`.
    Ids,
    /// Texts: `any_`, `not_any_`, `like_`, `startswith_`, `is_null_`.
    Texts,
    /// Types of states: `any_`, `not_any_`.
    Types,
    /// Points in time: `before_`, `after_`, `is_null_`.
    Times,
    /// Tags: `all_`, `any_`, `is_null_`.
    Tags,
    /// Truth values: `eq_`.
    Flag,
    /// Type and name of the state.
    State,
}

/// The columns of a kind of row.
pub(super) type Columns = &'static [(&'static str, Kind)];

const STATE: Columns = &[("type", Kind::Types), ("name", Kind::Texts)];

#[derive(Debug)]
enum Test {
    AnyOf(Vec<String>),
    NotAnyOf(Vec<String>),
    Like(String),
    StartsWith(Vec<String>),
    IsNull(bool),
    Before(OffsetDateTime),
    After(OffsetDateTime),
    HasAll(Vec<String>),
    HasAny(Vec<String>),
    Is(bool),
}

#[derive(Debug)]
enum Criterion {
    Column(&'static str, Vec<Test>),
    State(Filter),
}

/// A filter; the empty one wants every row.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// One criterion is enough.
    any: bool,
    criteria: Vec<Criterion>,
}

impl Filter {
    /// Reads a member of a body; absent or null wants every row.
    pub(super) fn read(fields: &Fields<'_>, key: &str, columns: Columns) -> Outcome<Self> {
        match fields.child(key)? {
            None => Ok(Self::default()),
            Some(fields) => Self::of(fields, columns),
        }
    }

    fn of(fields: Fields<'_>, columns: Columns) -> Outcome<Self> {
        let known: Vec<&str> = columns.iter().map(|(name, _)| *name).chain(["operator"]).collect();
        let fields = fields.only(&known)?;
        let any = fields.text("operator")?.as_deref() == Some("or_");
        let mut criteria = Vec::new();
        for (name, kind) in columns {
            let Some(criterion) = fields.child(name)? else { continue };
            if *kind == Kind::State {
                criteria.push(Criterion::State(Self::of(criterion, STATE)?));
            } else {
                criteria.push(Criterion::Column(name, tests(criterion, *kind)?));
            }
        }
        Ok(Self { any, criteria })
    }

    /// Whether the row is wanted whose columns these are. State type and name are the columns `type` and `name` of
    /// `state`.
    pub(super) fn wants<'a>(&self, column: &impl Fn(&str) -> Column<'a>) -> bool {
        let state = |name: &str| column(if name == "type" { "state_type" } else { "state_name" });
        self.holds(column, &state)
    }

    fn holds<'a>(&self, column: &dyn Fn(&str) -> Column<'a>, state: &dyn Fn(&str) -> Column<'a>) -> bool {
        let holds = |criterion: &Criterion| match criterion {
            Criterion::State(filter) => filter.holds(state, state),
            Criterion::Column(name, tests) => tests.iter().all(|test| test.holds(column(name))),
        };
        if self.any && !self.criteria.is_empty() {
            self.criteria.iter().any(holds)
        } else {
            self.criteria.iter().all(holds)
        }
    }
}

fn tests(fields: Fields<'_>, kind: Kind) -> Outcome<Vec<Test>> {
    let fields = fields.only(match kind {
        Kind::Ids => &["any_", "not_any_", "is_null_", "operator"][..],
        Kind::Texts => &["any_", "not_any_", "like_", "startswith_", "is_null_", "operator"],
        Kind::Types => &["any_", "not_any_"],
        Kind::Times => &["before_", "after_", "is_null_"],
        Kind::Tags => &["all_", "any_", "is_null_", "operator"],
        Kind::Flag => &["eq_"],
        Kind::State => &[],
    })?;
    let list = |key: &str| match kind {
        Kind::Ids => fields.ids(key),
        Kind::Types => {
            fields.list(key, "enum", UNKNOWN_TYPE, |value| Some(StateType::named(value.as_str()?)?.name().to_owned()))
        }
        _ => fields.texts(key),
    };
    let mut tests = Vec::new();
    if kind == Kind::Times {
        tests.extend(fields.time("before_")?.map(Test::Before));
        tests.extend(fields.time("after_")?.map(Test::After));
    } else if kind != Kind::Flag {
        tests.extend(list("any_")?.map(if kind == Kind::Tags { Test::HasAny } else { Test::AnyOf }));
        tests.extend(list("not_any_")?.map(Test::NotAnyOf));
        tests.extend(list("all_")?.map(Test::HasAll));
        tests.extend(list("startswith_")?.map(Test::StartsWith));
        tests.extend(fields.text("like_")?.map(Test::Like));
    }
    tests.extend(fields.boolean("is_null_")?.map(Test::IsNull));
    tests.extend(fields.boolean("eq_")?.map(Test::Is));
    Ok(tests)
}

impl Test {
    fn holds(&self, column: Column<'_>) -> bool {
        let column = match column {
            Column::Start(start, _) if matches!(self, Self::IsNull(_)) => Column::Time(start),
            Column::Start(start, expected) => Column::Time(start.or(expected)),
            column => column,
        };
        match (self, column) {
            (Self::AnyOf(list), Column::Text(Some(text))) => list.iter().any(|one| one == text),
            (Self::NotAnyOf(list), Column::Text(text)) => {
                list.is_empty() || text.is_some_and(|text| !list.iter().any(|one| one == text))
            }
            (Self::Like(part), Column::Text(Some(text))) => text.to_lowercase().contains(&part.to_lowercase()),
            (Self::StartsWith(list), Column::Text(Some(text))) => list.iter().any(|one| text.starts_with(one.as_str())),
            (Self::IsNull(wanted), Column::Text(text)) => text.is_none() == *wanted,
            (Self::IsNull(wanted), Column::Time(time)) => time.is_none() == *wanted,
            (Self::IsNull(wanted), Column::Tags(tags)) => tags.is_empty() == *wanted,
            (Self::Before(limit), Column::Time(Some(time))) => time <= *limit,
            (Self::After(limit), Column::Time(Some(time))) => time >= *limit,
            (Self::HasAll(list), Column::Tags(tags)) => list.iter().all(|one| tags.contains(one)),
            (Self::HasAny(list), Column::Tags(tags)) => list.iter().any(|one| tags.contains(one)),
            (Self::Is(wanted), Column::Flag(flag)) => flag == *wanted,
            _ => false,
        }
    }
}

/// Which rows of the wanted ones an answer has.
pub(super) struct Page {
    limit: usize,
    offset: usize,
}

impl Page {
    /// Reads `limit` and `offset`.
    pub(super) fn read(fields: &Fields<'_>, most: i64) -> Outcome<Self> {
        let limit = fields.integer("limit", i64::MIN)?.unwrap_or(most);
        if limit < 0 {
            return Err(super::answer::detail(422, "Invalid limit: must be greater than or equal to 0."));
        }
        if limit > most {
            return Err(super::answer::detail(422, format!("Invalid limit: must be less than or equal to {most}.")));
        }
        let offset = fields.integer("offset", 0)?.unwrap_or_default();
        Ok(Self {
            limit: usize::try_from(limit).unwrap_or_default(),
            offset: usize::try_from(offset).unwrap_or_default(),
        })
    }

    /// The rows of the page, as JSON.
    pub(super) fn of<T>(&self, rows: impl IntoIterator<Item = T>, show: impl FnMut(T) -> Value) -> Value {
        rows.into_iter().skip(self.offset).take(self.limit).map(show).collect()
    }

    /// The limit alone.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

/// Refuses a name that is none of an enumeration's.
pub(super) fn one_of(fields: &Fields<'_>, key: &str, names: &[&str]) -> Outcome<Option<String>> {
    let Some(text) = fields.text(key)? else { return Ok(None) };
    if names.contains(&text.as_str()) {
        return Ok(Some(text));
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    let (last, first) =
        quoted.split_last().map_or((String::new(), String::new()), |(last, first)| (last.clone(), first.join(", ")));
    Err(fields.refuse(key, "enum", &format!("Input should be {first} or {last}")))
}
