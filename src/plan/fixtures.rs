//! Descriptions for the tests of this module, written short: `numeric(12,2)[]`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::catalog::desc::{
    AttributeDesc, ColumnDesc, KeyColumn, OperatorName, Privileges, RelationDesc, RelationKind,
    TypeDesc, TypeShape, UniqueIndex,
};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{Compare, Create, NewColumns};
use crate::config::spec::{
    FormatChoice, GuardSpec, JobSpec, Missed, Mode, OnError, Overlap, RejectLimit, Replace,
    RetrySpec, ScheduleSpec, TableSpec, Triggers, Verify,
};
use crate::pg::ident::{Ident, QualifiedName};
use crate::plan::copy::JobPlan;
use crate::plan::shared::Attempt;
use crate::plan::step::Step;

/// The owners of types that are no built-in ones.
const EXTENSION_TYPES: [&str; 7] = [
    "citext",
    "ltree",
    "hstore",
    "cube",
    "seg",
    "isbn",
    "query_int",
];
/// Types without binary input and output.
const TEXT_ONLY: [&str; 5] = ["aclitem", "gtsvector", "seg", "isbn", "query_int"];

/// A unique index of these columns, whose type compares like int4.
pub fn unique_index(columns: &[&str]) -> UniqueIndex {
    let key = |name: &&str| KeyColumn {
        name: Ident::new(*name),
        equality: OperatorName {
            schema: Ident::new("pg_catalog"),
            symbol: "=".to_owned(),
        },
        collation: None,
        hashes: true,
        merges: true,
        equal_is_identical: true,
    };
    UniqueIndex {
        name: "key".to_owned(),
        is_plain: true,
        immediate: true,
        columns: columns.iter().map(key).collect(),
    }
}

pub fn builtin(name: &str, shape: TypeShape) -> TypeDesc {
    TypeDesc {
        name: QualifiedName::new("pg_catalog", name),
        extension: None,
        can_send: true,
        can_receive: true,
        shape,
    }
}

pub fn user(name: &str, shape: TypeShape) -> TypeDesc {
    TypeDesc {
        name: QualifiedName::new("app", name),
        ..builtin(name, shape)
    }
}

pub fn labels(list: &[&str]) -> TypeDesc {
    let labels = list.iter().map(|label| (*label).to_owned()).collect();
    user("mood", TypeShape::Enum(labels))
}

pub fn array(element: TypeDesc) -> TypeDesc {
    let name = format!("_{}", element.name.name.as_str());
    TypeDesc {
        name: QualifiedName::new(element.name.schema.as_str(), name),
        ..builtin("", TypeShape::Array(Box::new(element)))
    }
}

pub fn domain(base: &str) -> TypeDesc {
    let (base, typmod) = parse(base);
    user(
        "dom",
        TypeShape::Domain {
            base: Box::new(base),
            typmod,
        },
    )
}

pub fn composite(attributes: &[(&str, TypeDesc)]) -> TypeDesc {
    let attributes = attributes
        .iter()
        .map(|(name, ty)| AttributeDesc {
            name: (*name).to_owned(),
            ty: ty.clone(),
            typmod: -1,
        })
        .collect();
    user("pair", TypeShape::Composite(attributes))
}

pub fn range(name: &str, subtype: &str) -> TypeDesc {
    user(name, TypeShape::Range(Box::new(parse(subtype).0)))
}

/// Reads `numeric(12,2)[]` as the catalogs would return it.
pub fn parse(text: &str) -> (TypeDesc, i32) {
    if let Some(element) = text.strip_suffix("[]") {
        let (ty, typmod) = parse(element);
        return (array(ty), typmod);
    }
    let (name, numbers) = text.split_once('(').unwrap_or((text, ""));
    let numbers: Vec<i32> = numbers
        .trim_end_matches(')')
        .split(',')
        .filter_map(|number| number.parse().ok())
        .collect();
    let typmod = match (name, numbers.as_slice()) {
        (_, []) => -1,
        ("numeric", [precision, rest @ ..]) => {
            ((precision << 16) | (rest.first().copied().unwrap_or(0) & 0x7ff)) + 4
        }
        ("varchar" | "bpchar", [length, ..]) => length + 4,
        ("interval", [digits, ..]) => (0x7fff << 16) | digits,
        (_, [number, ..]) => *number,
    };
    let base = |name: &str| Box::new(builtin(name, TypeShape::Base));
    let range = |subtype: &str| TypeShape::Range(base(subtype));
    let mut ty = match name {
        "int4range" => builtin(name, range("int4")),
        "int8range" => builtin(name, range("int8")),
        "numrange" => builtin(name, range("numeric")),
        "int4multirange" => {
            let inner = builtin("int4range", range("int4"));
            builtin(name, TypeShape::Multirange(Box::new(inner)))
        }
        "record" => builtin(name, TypeShape::Pseudo),
        "mood" => labels(&["sad", "ok"]),
        _ if EXTENSION_TYPES.contains(&name) => TypeDesc {
            extension: Some(if name == "isbn" { "isn" } else { name }.to_owned()),
            ..user(name, TypeShape::Base)
        },
        _ => builtin(name, TypeShape::Base),
    };
    if TEXT_ONLY.contains(&name) {
        (ty.can_send, ty.can_receive) = (false, false);
    }
    (ty, typmod)
}

/// A column of a parsed type.
pub fn column(name: &str, ty: &str) -> ColumnDesc {
    let (desc, typmod) = parse(ty);
    ColumnDesc {
        typmod,
        type_text: ty.to_owned(),
        ..column_of(name, desc)
    }
}

/// A column of a built type.
pub fn column_of(name: &str, ty: TypeDesc) -> ColumnDesc {
    let type_text = ty.name.to_string();
    ColumnDesc::computed(name, ty, -1, type_text)
}

/// A table whose owner asks.
pub fn table(name: &str, columns: Vec<ColumnDesc>) -> RelationDesc {
    RelationDesc {
        kind: RelationKind::Table,
        rows_estimate: Some(10),
        bytes_estimate: 8192,
        blocks: Some(1),
        privileges: Privileges {
            select: true,
            insert: true,
            update: true,
            delete: true,
            truncate: true,
            owner: true,
            usage: true,
            analyze: true,
            skip_triggers: true,
            temporary: true,
        },
        ..RelationDesc::query(
            QualifiedName::new("public", name),
            150_000,
            columns,
            "C".to_owned(),
        )
    }
}

/// The entry that copies a table into one of the same name.
pub fn inspected(source: RelationDesc, target: RelationDesc) -> Inspected {
    Inspected {
        spec: TableSpec {
            target: target.name.clone(),
            ..TableSpec::whole(&source.name)
        },
        source: Some(source),
        attachments: None,
        target_is_empty: false,
        creation: None,
        constraints: None,
        target: Some(target),
        set: BTreeMap::new(),
        progress: None,
        changes: None,
        load: None,
    }
}

/// The statements of a plan's steps that begin like this.
pub fn runs<'a>(plan: &'a JobPlan, begin: &str) -> Vec<&'a str> {
    let steps = plan.transactions.iter().flat_map(|t| &t.steps);
    let runs = steps.filter_map(|step| match step {
        Step::Create(statement) | Step::Statement(statement) => Some(statement.sql.as_str()),
        _ => None,
    });
    runs.filter(|sql| sql.starts_with(begin)).collect()
}

/// Makes constraints wait for COMMIT.
pub const DEFER: &str = "SET CONSTRAINTS ALL DEFERRED";

/// Any attempt.
pub fn attempt() -> Attempt {
    Attempt {
        run_id: uuid::Uuid::nil(),
        number: 1,
        source: 0,
    }
}

/// A schedule on demand only.
pub fn schedule() -> ScheduleSpec {
    ScheduleSpec {
        cron: None,
        every: None,
        timezone: None,
        jitter: Duration::ZERO,
        overlap: Overlap::Skip,
        missed: Missed::Once,
        catchup_window: Duration::ZERO,
        on_demand: true,
        signal: None,
        after: Vec::new(),
    }
}

/// A job with the defaults of the configuration.
pub fn job(mode: Mode) -> JobSpec {
    let zero = Duration::ZERO;
    JobSpec {
        name: "j".to_owned(),
        source: "shop".to_owned(),
        more_sources: Vec::new(),
        source_column: None,
        target: "warehouse".to_owned(),
        mode,
        tables: Vec::new(),
        exclude: Vec::new(),
        target_names: None,
        table: BTreeMap::new(),
        schedule: schedule(),
        timeout: None,
        lock_timeout: zero,
        stall_timeout: zero,
        retry: RetrySpec {
            max: 0,
            backoff: zero,
            max_backoff: zero,
        },
        format: FormatChoice::Auto,
        workers: 1,
        atomic: true,
        verify: Verify::Count,
        guard: GuardSpec {
            allow_empty: false,
            max_shrink: 0.5,
            min_rows: 0,
        },
        triggers: Triggers::Fire,
        sequences: true,
        analyze: true,
        rate_limit: None,
        on_error: OnError::Abort,
        reject_limit: RejectLimit::Rows(100),
        log_values: false,
        recreate_views: false,
        compare: Compare::Auto,
        replace: Replace::Table,
        resume: false,
        create: Create::Never,
        new_columns: NewColumns::Warn,
        fresh_within: None,
        max_snapshot_age: None,
        csv: Default::default(),
        sql: Default::default(),
        params: BTreeMap::new(),
        params_used: Default::default(),
    }
}
