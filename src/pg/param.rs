//! Query parameters with their types, so that a query needs no prepared statement: behind a pooler in
//! transaction mode, another backend would not know the statement.

use tokio_postgres::types::{ToSql, Type};

/// A query's parameter.
pub trait Param: Sync {
    /// As what the server takes it.
    fn ty(&self) -> Type;

    /// What tokio-postgres takes.
    fn value(&self) -> &(dyn ToSql + Sync);
}

macro_rules! params {
    ($($rust:ty => $ty:ident),* $(,)?) => {$(
        impl Param for $rust {
            fn ty(&self) -> Type {
                Type::$ty
            }

            fn value(&self) -> &(dyn ToSql + Sync) {
                self
            }
        }
    )*};
}

params! {
    &str => TEXT,
    String => TEXT,
    &String => TEXT,
    Option<String> => TEXT,
    Option<&str> => TEXT,
    i32 => INT4,
    i64 => INT8,
    u32 => OID,
    f64 => FLOAT8,
    Vec<&str> => TEXT_ARRAY,
    Vec<u32> => OID_ARRAY,
    &[u32] => OID_ARRAY,
    &[i32] => INT4_ARRAY,
}
