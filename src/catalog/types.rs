//! Reads types, level by level, down to base types.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::desc::{AttributeDesc, TypeDesc, TypeShape};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

/// Types by OID, as one server has them.
pub struct Types {
    rows: BTreeMap<u32, TypeRow>,
}

struct TypeRow {
    name: QualifiedName,
    extension: Option<String>,
    can_send: bool,
    can_receive: bool,
    kind: TypeKind,
}

enum TypeKind {
    Base,
    Pseudo,
    Enum(Vec<String>),
    Domain { base: u32, typmod: i32 },
    Composite(Vec<(String, u32, i32)>),
    Range(u32),
    Multirange(u32),
    Array(u32),
}

/// One level of types. A type is an array of another if that one says so: `int2vector` and
/// `oidvector` have elements too, but are types of their own.
///
/// `MULTIRANGE` is a placeholder, because version 13 has none.
const LEVEL: &str = "\
SELECT t.oid, n.nspname::pg_catalog.text, t.typname::pg_catalog.text, t.typtype::pg_catalog.text, \
       t.typsend::pg_catalog.oid <> 0, t.typreceive::pg_catalog.oid <> 0, \
       (SELECT e.extname::pg_catalog.text \
          FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid \
         WHERE d.classid = 1247 AND d.objid = t.oid AND d.deptype = 'e' \
           AND d.refclassid = 3079 LIMIT 1), \
       CASE WHEN element.typarray = t.oid THEN element.oid ELSE 0 END::pg_catalog.oid, \
       t.typbasetype, t.typtypmod, \
       COALESCE(r.rngsubtype, 0)::pg_catalog.oid, \
       MULTIRANGE::pg_catalog.oid, \
       ARRAY(SELECT l.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum AS l \
              WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder), \
       attributes.names, attributes.types, attributes.typmods \
FROM pg_catalog.pg_type AS t \
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace \
LEFT JOIN pg_catalog.pg_type AS element ON element.oid = t.typelem \
LEFT JOIN pg_catalog.pg_range AS r ON r.rngtypid = t.oid \
LEFT JOIN LATERAL ( \
    SELECT pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY a.attnum) AS names, \
           pg_catalog.array_agg(a.atttypid ORDER BY a.attnum) AS types, \
           pg_catalog.array_agg(a.atttypmod ORDER BY a.attnum) AS typmods \
    FROM pg_catalog.pg_attribute AS a \
    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
) AS attributes ON true \
WHERE t.oid = ANY ($1::pg_catalog.oid[])";

const RANGE_OF_MULTIRANGE: &str =
    "COALESCE((SELECT m.rngtypid FROM pg_catalog.pg_range AS m WHERE m.rngmultitypid = t.oid), 0)";

impl Types {
    /// Reads the types of these OIDs and all that they are made of: one query a level.
    pub async fn read(session: &Session, roots: impl IntoIterator<Item = u32>) -> Result<Types> {
        let multirange = if session.version() >= 140_000 {
            RANGE_OF_MULTIRANGE
        } else {
            "0"
        };
        let sql = LEVEL.replace("MULTIRANGE", multirange);
        let mut types = Types {
            rows: BTreeMap::new(),
        };
        let mut wanted: BTreeSet<u32> = roots.into_iter().collect();
        while !wanted.is_empty() {
            let oids: Vec<u32> = wanted.iter().copied().collect();
            let mut next = BTreeSet::new();
            for row in session.query(Phase::Inspect, &sql, &[&oids]).await? {
                let oid: u32 = row.get(0);
                let read = TypeRow::read(&row);
                next.extend(read.kind.parts());
                types.rows.insert(oid, read);
            }
            if let Some(missing) = wanted.iter().find(|oid| !types.rows.contains_key(oid)) {
                return Err(gone(session, *missing));
            }
            next.retain(|oid| !types.rows.contains_key(oid));
            wanted = next;
        }
        Ok(types)
    }

    /// The type of an OID that was read.
    pub fn describe(&self, session: &Session, oid: u32) -> Result<TypeDesc> {
        let row = self.rows.get(&oid).ok_or_else(|| gone(session, oid))?;
        let boxed = |oid: u32| self.describe(session, oid).map(Box::new);
        let shape = match &row.kind {
            TypeKind::Base => TypeShape::Base,
            TypeKind::Pseudo => TypeShape::Pseudo,
            TypeKind::Enum(labels) => TypeShape::Enum(labels.clone()),
            TypeKind::Domain { base, typmod } => TypeShape::Domain {
                base: boxed(*base)?,
                typmod: *typmod,
            },
            TypeKind::Composite(attributes) => TypeShape::Composite(
                attributes
                    .iter()
                    .map(|(name, oid, typmod)| {
                        Ok(AttributeDesc {
                            name: name.clone(),
                            ty: self.describe(session, *oid)?,
                            typmod: *typmod,
                        })
                    })
                    .collect::<Result<_>>()?,
            ),
            TypeKind::Range(subtype) => TypeShape::Range(boxed(*subtype)?),
            TypeKind::Multirange(range) => TypeShape::Multirange(boxed(*range)?),
            TypeKind::Array(element) => TypeShape::Array(boxed(*element)?),
        };
        Ok(TypeDesc {
            name: row.name.clone(),
            extension: row.extension.clone(),
            can_send: row.can_send,
            can_receive: row.can_receive,
            shape,
        })
    }
}

/// A type that was dropped between two queries of one reading.
fn gone(session: &Session, oid: u32) -> Error {
    Error::new(
        ErrorKind::Conflict,
        Phase::Inspect,
        session.side(),
        format!("the type with OID {oid} was dropped while the catalogs were read"),
    )
    .at(session.server())
}

impl TypeRow {
    fn read(row: &tokio_postgres::Row) -> Self {
        let typtype: String = row.get(3);
        let element: u32 = row.get(7);
        let kind = match typtype.as_str() {
            _ if element != 0 => TypeKind::Array(element),
            "e" => TypeKind::Enum(row.get(12)),
            "d" => TypeKind::Domain {
                base: row.get(8),
                typmod: row.get(9),
            },
            "c" => {
                let names: Vec<String> = row.get::<_, Option<_>>(13).unwrap_or_default();
                let types: Vec<u32> = row.get::<_, Option<_>>(14).unwrap_or_default();
                let typmods: Vec<i32> = row.get::<_, Option<_>>(15).unwrap_or_default();
                let parts = names.into_iter().zip(types).zip(typmods);
                TypeKind::Composite(
                    parts
                        .map(|((name, ty), typmod)| (name, ty, typmod))
                        .collect(),
                )
            }
            "r" => TypeKind::Range(row.get(10)),
            "m" => TypeKind::Multirange(row.get(11)),
            "p" => TypeKind::Pseudo,
            _ => TypeKind::Base,
        };
        TypeRow {
            name: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
            extension: row.get(6),
            can_send: row.get(4),
            can_receive: row.get(5),
            kind,
        }
    }
}

impl TypeKind {
    fn parts(&self) -> Vec<u32> {
        match self {
            TypeKind::Base | TypeKind::Pseudo | TypeKind::Enum(_) => Vec::new(),
            TypeKind::Domain { base: oid, .. }
            | TypeKind::Range(oid)
            | TypeKind::Multirange(oid)
            | TypeKind::Array(oid) => vec![*oid],
            TypeKind::Composite(attributes) => attributes.iter().map(|(_, oid, _)| *oid).collect(),
        }
    }
}
