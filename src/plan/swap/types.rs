//! The plan of a table that is swapped.

use crate::catalog::attachments::Attachments;
use crate::pg::ident::QualifiedName;

/// A new table that will take the target's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    /// Its name until then.
    pub name: QualifiedName,
    /// The old table's name from then until it is dropped, in the same transaction.
    pub retired: QualifiedName,
    /// Before the load: the table and all that has a say in which rows it takes.
    pub make: Vec<String>,
    /// After the load: the statements of each index, which may all be made at the same time.
    pub indexes: Vec<Vec<String>>,
    /// Then: constraints, statistics, comments.
    pub build: Vec<String>,
    /// When all shadows of the job are built: what refers to other shadows, and privileges last,
    /// because the owner's own may be among those that lack.
    pub attach: Vec<String>,
    /// In the publishing moment: foreign keys to tables that are not swapped.
    pub outer_keys: Vec<OuterKey>,
    /// Its rows are visible to every snapshot, however old; else an older one finds the table empty.
    pub frozen: bool,
    /// What the old table has, for comparing.
    pub attachments: Attachments,
}

/// The statements of the publishing moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishSql {
    /// Takes every lock that readers could notice: a statement for each relation.
    pub lock: Vec<(QualifiedName, String)>,
    /// Keeps writers away from the tables that foreign keys point to.
    pub lock_referenced: Vec<(QualifiedName, String)>,
    /// Adds those foreign keys to the shadows, before the locks are taken.
    pub keys: Vec<String>,
    /// Adds them under the locks, where the tables are small: these to the shadows,
    pub keys_early: Vec<String>,
    /// and these to the renamed tables.
    pub keys_late: Vec<String>,
    /// The tables that this reads.
    pub keys_read: Vec<QualifiedName>,
    /// Changes catalogues only.
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
    /// All rows are looked up.
    pub reads_rows: bool,
    /// The table that it points to, and that one's partitions.
    pub tables: Vec<QualifiedName>,
}
