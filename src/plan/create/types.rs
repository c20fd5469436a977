//! Types that the target lacks, and the types that these are made of.

use super::{Maker, comment, quoted};
use crate::catalog::creation::{MadeRange, MadeType, Name, Object};
use crate::pg::ident::{Ident, quote_literal};

impl Maker<'_, '_> {
    /// Makes the type of a column if the target lacks it, after what it is made of.
    pub(super) fn ty(&mut self, column: &str, name: &Name) {
        let mut types = self.material.types.iter();
        if let Some(ty) = types.find(|ty| ty.schema == name.schema && ty.name == name.name) {
            self.made_type(column, ty, 0);
        }
    }

    fn made_type(&mut self, column: &str, ty: &MadeType, depth: usize) {
        let name = Name {
            schema: ty.schema.clone(),
            name: ty.name.clone(),
        };
        let what = format!("type {}", name.qualified());
        // A type of arrays, and of multiranges, comes with the other type.
        let comes_with = matches!(ty.kind.as_str(), "array" | "m");
        if self.has(&what) || !comes_with && self.material.present.types.contains(&name) {
            return;
        }
        if !comes_with && self.refuses(column, ty, &name) {
            return;
        }
        // Types do not contain themselves, but the row types of tables may.
        if depth < 64 {
            for part in &ty.parts {
                let mut types = self.material.types.iter();
                if let Some(part) = types.find(|ty| ty.oid == *part) {
                    self.made_type(column, part, depth + 1);
                }
            }
        }
        if !comes_with {
            self.schema(&ty.schema);
            self.objects.push(create(what, ty));
        }
    }

    /// Refuses what only an extension, the server or a table could make.
    fn refuses(&mut self, column: &str, ty: &MadeType, name: &Name) -> bool {
        let column = Ident::new(column);
        let qualified = name.qualified();
        let (message, hint) = match (&ty.extension, ty.kind.as_str()) {
            (Some(extension), _) => (
                format!(
                    "column {column} needs type {qualified} of extension {extension}, which the target does not have"
                ),
                format!(
                    "CREATE EXTENSION {} on the target, in the same schema",
                    Ident::new(extension)
                ),
            ),
            (None, "e" | "d" | "c") => return false,
            (None, "r") => match ty.range.as_ref().and_then(|range| range.canonical.as_ref()) {
                None if name.schema != "pg_catalog" => return false,
                _ => (
                    format!(
                        "column {column} needs range type {qualified}, which is not created: it has functions of its own"
                    ),
                    "create the type on the target".to_owned(),
                ),
            },
            (None, "row") => (
                format!(
                    "column {column} needs the row type of {qualified}, which the target does not have"
                ),
                "create that table on the target, or leave the column out with `columns`"
                    .to_owned(),
            ),
            (None, _) if name.schema == "pg_catalog" => (
                format!(
                    "column {column} needs type {}, which PostgreSQL {} of the target does not have",
                    qualified.name,
                    self.material.version / 10_000
                ),
                "leave the column out with `columns`, or convert it with `set`".to_owned(),
            ),
            (None, _) => (
                format!(
                    "column {column} needs type {qualified}, which is written in C and cannot be created from the catalogs"
                ),
                "create the type on the target".to_owned(),
            ),
        };
        self.refuse(message, hint);
        true
    }
}

fn create(what: String, ty: &MadeType) -> Object {
    let name = format!("{}.{}", quoted(&ty.schema), quoted(&ty.name));
    let mut object = Object {
        what,
        ..Object::default()
    };
    let collate = |collation: &Option<String>| {
        let collation = collation.as_ref();
        collation.map_or(String::new(), |collation| format!(" COLLATE {collation}"))
    };
    let mut kind = "TYPE";
    match (ty.kind.as_str(), &ty.range) {
        ("e", _) => {
            let labels = ty
                .labels
                .iter()
                .map(|l| quote_literal(l).trim_start().to_owned());
            let labels: Vec<String> = labels.collect();
            object.before.push(format!(
                "CREATE TYPE {name} AS ENUM ({})",
                labels.join(", ")
            ));
        }
        ("d", _) => {
            kind = "DOMAIN";
            let base = ty.base.as_deref().unwrap_or_default();
            let mut sql = format!("CREATE DOMAIN {name} AS {base}{}", collate(&ty.collation));
            if let Some(default) = &ty.default {
                sql.push_str(&format!(" DEFAULT {default}"));
            }
            if ty.not_null {
                sql.push_str(" NOT NULL");
            }
            for check in ty.checks.iter().filter(|check| check.validated) {
                sql.push_str(&format!(
                    " CONSTRAINT {} {}",
                    quoted(&check.name),
                    check.definition
                ));
            }
            object.before.push(sql);
            for check in ty.checks.iter().filter(|check| !check.validated) {
                let constraint = quoted(&check.name);
                let sql = format!(
                    "ALTER DOMAIN {name} ADD CONSTRAINT {constraint} {}",
                    check.definition
                );
                object.after.push(sql);
            }
            for check in &ty.checks {
                let on = format!("CONSTRAINT {} ON DOMAIN {name}", quoted(&check.name));
                object.after.extend(comment(&on, check.comment.as_ref()));
            }
        }
        ("r", Some(range)) => object.before.push(create_range(&name, range)),
        _ => {
            let attributes = ty.attributes.iter().map(|attribute| {
                let name = quoted(&attribute.name);
                format!(
                    "{name} {}{}",
                    attribute.type_text,
                    collate(&attribute.collation)
                )
            });
            let attributes: Vec<String> = attributes.collect();
            object
                .before
                .push(format!("CREATE TYPE {name} AS ({})", attributes.join(", ")));
        }
    }
    object
        .before
        .extend(comment(&format!("{kind} {name}"), ty.comment.as_ref()));
    object
}

fn create_range(name: &str, range: &MadeRange) -> String {
    let mut parts = vec![
        format!("SUBTYPE = {}", range.subtype),
        format!("SUBTYPE_OPCLASS = {}", range.operator_class),
    ];
    parts.extend(range.collation.iter().map(|c| format!("COLLATION = {c}")));
    parts.extend(
        range
            .difference
            .iter()
            .map(|f| format!("SUBTYPE_DIFF = {f}")),
    );
    let multirange = range.multirange.iter();
    parts.extend(multirange.map(|m| {
        format!(
            "MULTIRANGE_TYPE_NAME = {}.{}",
            quoted(&m.schema),
            quoted(&m.name)
        )
    }));
    format!("CREATE TYPE {name} AS RANGE ({})", parts.join(", "))
}
