//! The plan of a table that is swapped.

use crate::catalog::attachments::Attachments;
use crate::pg::ident::QualifiedName;

/// A new table that replaces the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// Its name until it replaces the target.
    pub name: QualifiedName,
    /// The old table's name from then until it is dropped, in the same transaction.
    pub retired: QualifiedName,
    /// Before the load: creates the table, its constraints on rows, and its triggers.
    pub make: Vec<String>,
    /// After the load: the statements of each index. Indexes may be created in parallel.
    pub indexes: Vec<Vec<String>>,
    /// After the indexes: constraints, extended statistics, comments.
    pub build: Vec<String>,
    /// After all shadows of the job have been built: references to other shadows, and at last privileges,
    /// because the owner's own privileges may be revoked.
    pub attach: Vec<String>,
    /// While publishing: foreign keys to tables that are not swapped.
    pub outer_keys: Vec<OuterKey>,
    /// Its rows are frozen, so they are visible to every snapshot. Otherwise the table is empty for older
    /// snapshots.
    pub frozen: bool,
    /// The attachments of the old table, to compare the new table with.
    pub attachments: Attachments,
}

/// The statements that publish.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishSql {
    /// Take every lock that blocks readers, one statement per relation.
    pub lock: Vec<(QualifiedName, String)>,
    /// Block writers of the tables that foreign keys reference.
    pub lock_referenced: Vec<(QualifiedName, String)>,
    /// Add those foreign keys to the shadows before the locks are taken.
    pub keys: Vec<String>,
    /// Add them under the locks if the tables are small: these to the shadows,
    pub keys_early: Vec<String>,
    /// and these to the renamed tables.
    pub keys_late: Vec<String>,
    /// The tables that the check of these keys reads.
    pub keys_read: Vec<QualifiedName>,
    /// Replace the tables. These statements only change catalogs.
    pub swap: Vec<String>,
}

/// A foreign key to a table that is not swapped. Adding the key blocks writers of that table; dropping the
/// old key blocks all access.
#[derive(Clone, Debug, PartialEq)]
pub struct OuterKey {
    /// Adds it to the shadow.
    pub statements: Vec<String>,
    /// Adds it to the renamed table. A foreign key to a partitioned table also has a constraint for each
    /// partition, which PostgreSQL names after the table that the key is added to.
    pub after_rename: Option<Vec<String>>,
    /// All rows are checked.
    pub reads_rows: bool,
    /// The referenced table and its partitions.
    pub tables: Vec<QualifiedName>,
}
