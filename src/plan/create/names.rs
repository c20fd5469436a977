//! The names of what belongs to a table that has another name on the target.

use crate::pg::ident::{IDENT_BYTES_MAX, QualifiedName};

/// A table of the job: its name on the source and on the target.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub source: &'a QualifiedName,
    pub target: &'a QualifiedName,
}

impl Names<'_> {
    /// The target's name of a partition, an index or a sequence: as on the source, but in the target's schema, and
    /// with the target's name where its name begins with the source's.
    pub fn of(&self, schema: &str, name: &str) -> QualifiedName {
        let schema = match schema == self.source.schema.as_str() {
            true => self.target.schema.as_str(),
            false => schema,
        };
        let (from, to) = (self.source.name.as_str(), self.target.name.as_str());
        let renamed = match name.strip_prefix(from) {
            Some(rest) if from != to => Some(format!("{to}{rest}")),
            _ => None,
        };
        let fits = |name: &String| name.len() <= IDENT_BYTES_MAX;
        let name = renamed.filter(fits).unwrap_or_else(|| name.to_owned());
        QualifiedName::new(schema, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::same("public.t", "public.t", ("public", "t_pkey"), "public.t_pkey")]
    #[case::renamed("public.t", "mart.sales_t", ("public", "t_pkey"), "mart.sales_t_pkey")]
    #[case::of_its_own("public.t", "mart.u", ("public", "own"), "mart.own")]
    #[case::elsewhere("public.t", "mart.u", ("parts", "t_2026"), "parts.u_2026")]
    fn names_follow_the_table(
        #[case] source: &str,
        #[case] target: &str,
        #[case] (schema, name): (&str, &str),
        #[case] expected: &str,
    ) {
        let (source, target) = (
            QualifiedName::parse(source).unwrap(),
            QualifiedName::parse(target).unwrap(),
        );
        let names = Names {
            source: &source,
            target: &target,
        };
        assert_eq!(names.of(schema, name).to_string(), expected);
    }

    #[test]
    fn a_name_that_would_be_too_long_stays() {
        let (source, target) = (
            QualifiedName::new("s", "t"),
            QualifiedName::new("s", "u".repeat(60)),
        );
        let names = Names {
            source: &source,
            target: &target,
        };
        assert_eq!(names.of("s", "t_pkey").name.as_str(), "t_pkey");
    }
}
