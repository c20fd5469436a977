//! Decides in which COPY format a source column is copied into a target column, from the structure of both
//! types.
//!
//! Some wrong binary pairs load without an error (a domain over `integer` read as `real` turns 5 into 7e-45).
//! So no format is tried out: a pair is known to be right, or it is refused.

use crate::catalog::desc::{AttributeDesc, ColumnDesc, TypeDesc, TypeShape};
use crate::plan::cast;
use crate::plan::column::FormatReason;
use crate::plan::pairs::{self, KnownPair};
use crate::plan::typmod;

/// The properties of both servers that the format depends on.
#[derive(Clone, Copy, Debug)]
pub struct ServerFacts<'a> {
    /// The target's `server_version_num`.
    pub target_version: u32,
    /// The source's `lc_monetary`.
    pub source_monetary: &'a str,
    /// The target's `lc_monetary`.
    pub target_monetary: &'a str,
}

/// How a source column is converted to a target column.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// The formats that can copy it.
    pub carrier: Carrier,
    /// The information that is lost without an error in either format: needs `lossy = true`.
    pub lossy: Vec<String>,
    /// The information that is lost only in text format.
    pub lossy_as_text: Vec<String>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// The formats that can copy a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Carrier {
    /// Both formats; binary is preferred.
    Binary,
    /// Only the text format.
    Text(FormatReason),
    /// No format can.
    Refused {
        /// The reason.
        message: String,
        /// The hint.
        hint: String,
    },
}

/// A type with its typmod.
#[derive(Clone, Copy)]
struct Typed<'a> {
    ty: &'a TypeDesc,
    typmod: i32,
}

/// The deepest nesting of types that is followed. PostgreSQL forbids circles of types, so this is only a
/// bound.
const TYPE_DEPTH_MAX: usize = 64;

/// Decides how a source column is converted to a target column.
pub fn convert(ends: ServerFacts<'_>, source: &ColumnDesc, target: &ColumnDesc) -> Conversion {
    let walk = Walk {
        ends,
        columns: (source, target),
        path: target.name.to_string(),
        texts: Some((&source.type_text, &target.type_text)),
        depth: 0,
    };
    walk.decide(
        Typed {
            ty: &source.ty,
            typmod: source.typmod,
        },
        Typed {
            ty: &target.ty,
            typmod: target.typmod,
        },
    )
}

impl Conversion {
    fn of(carrier: Carrier) -> Self {
        Conversion {
            carrier,
            lossy: Vec::new(),
            lossy_as_text: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds the result for an element type: the more restrictive carrier wins, and the first of equals.
    fn absorb(&mut self, part: Conversion) {
        let worse = match (&self.carrier, &part.carrier) {
            (Carrier::Refused { .. }, _) => false,
            (_, Carrier::Refused { .. }) => true,
            (Carrier::Text(_), _) => false,
            (Carrier::Binary, other) => *other != Carrier::Binary,
        };
        if worse {
            self.carrier = part.carrier;
        }
        self.lossy.extend(part.lossy);
        self.lossy_as_text.extend(part.lossy_as_text);
        self.warnings.extend(part.warnings);
    }

    /// Uses text instead of binary, for this reason. A column that is text or refused already stays so.
    fn demote(&mut self, reason: FormatReason) {
        if self.carrier == Carrier::Binary {
            self.carrier = Carrier::Text(reason);
        }
    }
}

/// The position within a column's type.
struct Walk<'a> {
    ends: ServerFacts<'a>,
    /// The source's and the target's column.
    columns: (&'a ColumnDesc, &'a ColumnDesc),
    path: String,
    /// Both types as the catalogs format them; only for the column itself.
    texts: Option<(&'a str, &'a str)>,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn into(&self, step: &str) -> Walk<'a> {
        Walk {
            ends: self.ends,
            columns: self.columns,
            path: format!("{}{step}", self.path),
            texts: None,
            depth: self.depth + 1,
        }
    }

    fn decide(&self, source: Typed<'_>, target: Typed<'_>) -> Conversion {
        if self.depth > TYPE_DEPTH_MAX {
            return self.refused(source, target, "their types are nested too deeply");
        }
        for side in [source, target] {
            if let Some(why) = pairs::never_copied(side.ty) {
                let message = format!("{}: {}", self.path, why);
                let column = &self.columns.1.name;
                let hint = format!("leave the column out, or give it with `set.{column}`");
                return Conversion::of(Carrier::Refused { message, hint });
            }
        }
        let mut conversion = self.by_shape(source, target);
        for (can, ty, side) in [
            (source.ty.can_send, source.ty, "source"),
            (target.ty.can_receive, target.ty, "target"),
        ] {
            if !can {
                conversion.demote(FormatReason::NoBinaryIo {
                    attribute: self.path.clone(),
                    ty: pairs::type_name(ty),
                    side,
                });
            }
        }
        conversion
    }

    fn by_shape(&self, source: Typed<'_>, target: Typed<'_>) -> Conversion {
        // A domain's values are sent as values of its base type, and the target's receive function checks
        // the domain's constraints. So each domain is replaced by its base type, on both sides.
        if let TypeShape::Domain { base, typmod } = &source.ty.shape {
            return self.into("").decide(
                Typed {
                    ty: base,
                    typmod: *typmod,
                },
                target,
            );
        }
        if let TypeShape::Domain { base, typmod } = &target.ty.shape {
            return self.into("").decide(
                source,
                Typed {
                    ty: base,
                    typmod: *typmod,
                },
            );
        }
        match (&source.ty.shape, &target.ty.shape) {
            (TypeShape::Array(from), TypeShape::Array(to)) => {
                let inner = self.into("[]");
                let mut conversion = inner.decide(
                    Typed {
                        ty: from,
                        typmod: source.typmod,
                    },
                    Typed {
                        ty: to,
                        typmod: target.typmod,
                    },
                );
                inner.check_embedded_oid(&mut conversion, from, to);
                conversion
            }
            (TypeShape::Composite(from), TypeShape::Composite(to)) => {
                self.composites(source, target, from, to)
            }
            (TypeShape::Range(from), TypeShape::Range(to)) => self.ranges(source, target, from, to),
            (TypeShape::Multirange(from), TypeShape::Multirange(to)) => {
                self.into("").decide(bare(from), bare(to))
            }
            (TypeShape::Enum(from), TypeShape::Enum(to)) => self.enums(source, target, from, to),
            _ => self.leaves(source, target),
        }
    }

    /// Binary arrays and composites contain the OIDs of their element types.
    fn check_embedded_oid(
        &self,
        conversion: &mut Conversion,
        source: &TypeDesc,
        target: &TypeDesc,
    ) {
        let same_builtin = source.is_builtin() && source.name == target.name;
        if same_builtin {
            return;
        }
        if source.is_builtin() && target.is_builtin() {
            conversion.demote(FormatReason::TypeDiffers {
                attribute: self.path.clone(),
                source: pairs::type_name(source),
                target: pairs::type_name(target),
            });
        } else if self.ends.target_version < 140_000 {
            let user = if source.is_builtin() { target } else { source };
            conversion.demote(FormatReason::OldTarget {
                attribute: self.path.clone(),
                ty: pairs::type_name(user),
            });
        }
    }

    fn composites(
        &self,
        source: Typed<'_>,
        target: Typed<'_>,
        from: &[AttributeDesc],
        to: &[AttributeDesc],
    ) -> Conversion {
        let names = |list: &[AttributeDesc]| -> Vec<String> {
            list.iter()
                .map(|attribute| attribute.name.clone())
                .collect()
        };
        if names(from) != names(to) {
            let why = format!(
                "their attributes differ: ({}) and ({})",
                names(from).join(", "),
                names(to).join(", ")
            );
            return self.refused(source, target, &why);
        }
        let mut conversion = Conversion::of(Carrier::Binary);
        for (a, b) in from.iter().zip(to) {
            let inner = self.into(&format!(".{}", a.name));
            let mut part = inner.decide(
                Typed {
                    ty: &a.ty,
                    typmod: a.typmod,
                },
                Typed {
                    ty: &b.ty,
                    typmod: b.typmod,
                },
            );
            inner.check_embedded_oid(&mut part, &a.ty, &b.ty);
            conversion.absorb(part);
        }
        conversion
    }

    fn ranges(
        &self,
        source: Typed<'_>,
        target: Typed<'_>,
        from: &TypeDesc,
        to: &TypeDesc,
    ) -> Conversion {
        // Bounds have the same meaning only for the same subtype: [1,5) of integers ends at 4, of numerics
        // just below 5.
        if pairs::same_type(from, to) {
            return self.into("").decide(bare(from), bare(to));
        }
        let known = (source.ty.name.name.as_str(), target.ty.name.name.as_str());
        if source.ty.is_builtin() && target.ty.is_builtin() && known == ("int4range", "int8range") {
            return Conversion::of(Carrier::Text(self.differs(source, target)));
        }
        self.refused(source, target, "their subtypes differ")
    }

    fn enums(
        &self,
        source: Typed<'_>,
        target: Typed<'_>,
        from: &[String],
        to: &[String],
    ) -> Conversion {
        let missing: Vec<&str> = from
            .iter()
            .filter(|label| !to.contains(label))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            let message = self.sentence(
                source,
                target,
                &format!("the target's enum lacks {}", quoted_list(&missing)),
            );
            let hint = format!(
                "on the target: {}",
                missing
                    .iter()
                    .map(|label| format!(
                        "ALTER TYPE {} ADD VALUE {};",
                        target.ty.name,
                        crate::pg::ident::quote_literal(label)
                    ))
                    .collect::<Vec<_>>()
                    .join(" ")
            );
            return Conversion::of(Carrier::Refused { message, hint });
        }
        let mut conversion = Conversion::of(Carrier::Binary);
        let order_on_target: Vec<&String> = to.iter().filter(|l| from.contains(l)).collect();
        if order_on_target.iter().copied().ne(from) {
            conversion.warnings.push(format!(
                "{}: the labels of {} are in another order on the target, so it sorts differently",
                self.path, target.ty.name
            ));
        }
        conversion
    }

    /// Decides pairs that are not both arrays, both composites and so on.
    fn leaves(&self, source: Typed<'_>, target: Typed<'_>) -> Conversion {
        let mut conversion = match pairs::known(source.ty, target.ty) {
            KnownPair::Same => Conversion::of(Carrier::Binary),
            KnownPair::Binary => Conversion::of(Carrier::Binary),
            KnownPair::Text => Conversion::of(Carrier::Text(self.differs(source, target))),
            KnownPair::TextLossy(what) => {
                let mut conversion = Conversion::of(Carrier::Text(self.differs(source, target)));
                conversion.lossy.push(self.sentence(source, target, what));
                conversion
            }
            KnownPair::TextWarned(what) => {
                let mut conversion = Conversion::of(Carrier::Text(self.differs(source, target)));
                conversion
                    .warnings
                    .push(self.sentence(source, target, what));
                conversion
            }
            KnownPair::OidInside => Conversion::of(Carrier::Text(FormatReason::EmbedsOids {
                attribute: self.path.clone(),
                ty: pairs::type_name(source.ty),
            })),
            KnownPair::Not => {
                return self.refused(source, target, "no COPY format carries one into the other");
            }
        };
        match typmod::loss(source.ty, source.typmod, target.ty, target.typmod) {
            typmod::Loss::None => {}
            typmod::Loss::Silent(what) => {
                conversion.lossy.push(self.sentence(source, target, &what));
            }
            typmod::Loss::Always(what) => return self.refused(source, target, &what),
        }
        self.money_and_char(source, &mut conversion);
        conversion
    }

    fn money_and_char(&self, source: Typed<'_>, conversion: &mut Conversion) {
        if !source.ty.is_builtin() {
            return;
        }
        match source.ty.name.name.as_str() {
            "money" if !same_locale(self.ends.source_monetary, self.ends.target_monetary) => {
                conversion.lossy.push(format!(
                    "{}: money counts in units of lc_monetary, which is `{}` on the source and `{}` \
                     on the target",
                    self.path, self.ends.source_monetary, self.ends.target_monetary
                ));
            }
            "char" if self.ends.target_version < 140_000 => {
                conversion.lossy_as_text.push(format!(
                    "{}: PostgreSQL 13 and older misread \"char\" values above 127 in text",
                    self.path
                ));
            }
            _ => {}
        }
    }

    fn differs(&self, source: Typed<'_>, target: Typed<'_>) -> FormatReason {
        let (source, target) = self.names(source, target);
        FormatReason::TypeDiffers {
            attribute: self.path.clone(),
            source,
            target,
        }
    }

    fn refused(&self, source: Typed<'_>, target: Typed<'_>, why: &str) -> Conversion {
        let (from, to) = self.columns;
        let set = match cast::expression(from, to) {
            Some(sql) => format!(", such as `set.{} = {}`", to.name, toml_string(&sql)),
            None => format!(" with `set.{}`", to.name),
        };
        Conversion::of(Carrier::Refused {
            message: self.sentence(source, target, why),
            hint: format!("give the column as an expression{set}, or change the target's type"),
        })
    }

    fn sentence(&self, source: Typed<'_>, target: Typed<'_>, what: &str) -> String {
        let (source, target) = self.names(source, target);
        format!("{}: {source} → {target}: {what}", self.path)
    }

    fn names(&self, source: Typed<'_>, target: Typed<'_>) -> (String, String) {
        match self.texts {
            Some((source, target)) => (source.to_owned(), target.to_owned()),
            None => (
                typmod::with_typmod(source.ty, source.typmod),
                typmod::with_typmod(target.ty, target.typmod),
            ),
        }
    }
}

fn bare(ty: &TypeDesc) -> Typed<'_> {
    Typed { ty, typmod: -1 }
}

/// Quotes SQL as a TOML string.
fn toml_string(sql: &str) -> String {
    let quote = match (sql.contains('\''), sql.contains('"')) {
        (false, _) => "'",
        (true, false) => "\"",
        (true, true) => "'''",
    };
    format!("{quote}{sql}{quote}")
}

fn quoted_list(labels: &[&str]) -> String {
    labels
        .iter()
        .map(|label| crate::pg::ident::quote_literal(label))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `en_US.UTF-8` and `en_US.utf8` are one locale under two spellings.
fn same_locale(a: &str, b: &str) -> bool {
    let plain = |name: &str| -> String {
        name.chars()
            .filter(|c| *c != '-')
            .flat_map(char::to_lowercase)
            .collect()
    };
    let neutral = |name: &str| matches!(name, "c" | "posix");
    let (a, b) = (plain(a), plain(b));
    a == b || (neutral(&a) && neutral(&b))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
