//! Information that the target's type modifier removes: digits, fractions of seconds, blanks.

use crate::catalog::desc::{TypeDesc, TypeShape};
use crate::plan::pairs;
use crate::wording::counted;

/// The effect of the target's typmod on the source's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None, or an error that depends on the data.
    None,
    /// Information is lost without an error.
    Silent(String),
    /// Every value is refused.
    Always(String),
}

/// The effect of the target's typmod on the source's values.
pub fn loss(source: &TypeDesc, source_typmod: i32, target: &TypeDesc, target_typmod: i32) -> Loss {
    let (Some(from), Some(to)) = (pairs::key(source), pairs::key(target)) else {
        return Loss::None;
    };
    if target_typmod < 0 {
        return Loss::None;
    }
    match to {
        "numeric" => numeric(from, source_typmod, target_typmod),
        "varchar" | "bpchar" => blanks(source, from, source_typmod, to, target_typmod - 4),
        "timestamp" | "timestamptz" | "time" | "timetz" => {
            seconds(seconds_digits(source_typmod), target_typmod)
        }
        "interval" if from == "interval" => interval(source_typmod, target_typmod),
        "bit" if from == "bit" && source_typmod != target_typmod => {
            Loss::Always("bit strings of another length are refused".to_owned())
        }
        "varbit" if from == "bit" && source_typmod > target_typmod => {
            Loss::Always("the bit strings are longer than the target's".to_owned())
        }
        _ => Loss::None,
    }
}

/// A type with its typmod as in SQL, for types whose typmod can be formatted.
pub fn with_typmod(ty: &TypeDesc, typmod: i32) -> String {
    if let TypeShape::Array(element) = &ty.shape {
        return format!("{}[]", with_typmod(element, typmod));
    }
    let name = pairs::type_name(ty);
    if typmod < 0 || !ty.is_builtin() {
        return name;
    }
    match pairs::key(ty) {
        Some("numeric") => {
            let (precision, scale) = numeric_parts(typmod);
            format!("{name}({precision},{scale})")
        }
        Some("varchar" | "bpchar") => format!("{name}({})", typmod - 4),
        Some("bit" | "varbit") => format!("{name}({typmod})"),
        _ => name,
    }
}

/// The same for a cast, in which `character` and `bit` without a length mean a length of 1.
pub fn for_sql(ty: &TypeDesc, typmod: i32) -> String {
    match pairs::key(ty) {
        Some("bpchar") if typmod < 0 => "bpchar".to_owned(),
        Some("bit") if typmod < 0 => "\"bit\"".to_owned(),
        _ => with_typmod(ty, typmod),
    }
}

fn numeric(from: &str, source_typmod: i32, target_typmod: i32) -> Loss {
    let (_, target_scale) = numeric_parts(target_typmod);
    let source_scale = match from {
        "numeric" if source_typmod >= 0 => Some(numeric_parts(source_typmod).1),
        "int2" | "int4" | "int8" => Some(0),
        _ => None,
    };
    if source_scale.is_some_and(|scale| scale <= target_scale) {
        Loss::None
    } else {
        Loss::Silent(format!(
            "rounded to {} after the point",
            counted(target_scale, "digit")
        ))
    }
}

/// Precision and scale of a numeric's typmod. Since version 15, the scale is an 11-bit signed number that
/// may be negative; before, it was at most 1000.
fn numeric_parts(typmod: i32) -> (i32, i32) {
    let packed = typmod - 4;
    (packed >> 16 & 0xffff, ((packed & 0x7ff) ^ 1024) - 1024)
}

fn blanks(source: &TypeDesc, from: &str, source_typmod: i32, to: &str, target_max: i32) -> Loss {
    let source_max = match from {
        "varchar" if source_typmod >= 0 => Some(source_typmod - 4),
        // Their trailing blanks are not significant, or they have none. A value that is too long is an
        // error.
        "bpchar" | "uuid" | "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" => Some(0),
        "name" => Some(63),
        "#enum" => longest_label(source),
        _ => None,
    };
    match source_max {
        Some(max) if max <= target_max => Loss::None,
        _ if to == "bpchar" => Loss::Silent(format!(
            "blanks after {} get lost",
            counted(target_max, "character")
        )),
        _ => Loss::Silent(format!(
            "blanks after {} get cut",
            counted(target_max, "character")
        )),
    }
}

fn longest_label(ty: &TypeDesc) -> Option<i32> {
    let TypeShape::Enum(labels) = &ty.shape else {
        return None;
    };
    let longest = labels.iter().map(|label| label.chars().count()).max()?;
    i32::try_from(longest).ok()
}

/// Fractional digits of seconds: six unless the typmod has fewer.
fn seconds_digits(typmod: i32) -> i32 {
    if (0..=6).contains(&typmod) { typmod } else { 6 }
}

fn seconds(source_digits: i32, target_digits: i32) -> Loss {
    if source_digits > target_digits {
        Loss::Silent(format!(
            "seconds are rounded to {}",
            counted(target_digits, "digit")
        ))
    } else {
        Loss::None
    }
}

/// An interval's typmod contains its fields (15 bits) and the fractional digits of seconds. Only fields
/// finer than the finest one are lost: `interval day` keeps years.
fn interval(source_typmod: i32, target_typmod: i32) -> Loss {
    let parts = |typmod: i32| {
        if typmod < 0 {
            (FIELDS_BY_FINENESS.len(), 6)
        } else {
            (fineness(typmod >> 16), seconds_digits(typmod & 0xffff))
        }
    };
    let ((source_fineness, source_digits), (target_fineness, target_digits)) =
        (parts(source_typmod), parts(target_typmod));
    if source_fineness > target_fineness {
        return Loss::Silent("what is finer than the target's fields gets lost".to_owned());
    }
    seconds(source_digits, target_digits)
}

/// The bits of year, month, day, hour, minute and second in an interval's typmod.
const FIELDS_BY_FINENESS: [i32; 6] = [1 << 2, 1 << 1, 1 << 3, 1 << 10, 1 << 11, 1 << 12];

fn fineness(fields: i32) -> usize {
    FIELDS_BY_FINENESS
        .iter()
        .rposition(|field| fields & field != 0)
        .map_or(FIELDS_BY_FINENESS.len(), |at| at + 1)
}
