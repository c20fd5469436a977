//! Permissions of files. The program creates its own directories and files for its user only, whatever the umask is.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

const GROUP_MAY_WRITE: u32 = 0o020;
const OTHERS_MAY_WRITE: u32 = 0o002;
const GROUP_OR_OTHERS_MAY_READ: u32 = 0o044;
const GROUP_AND_OTHERS: u32 = 0o077;
const GROUP_MAY_READ_ONLY: u32 = 0o037;

/// Who else may write to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Only its owner.
    Owner,
    /// Also its group.
    Group,
}

/// Creates the directory and its parents if they are missing. *Errors:* all users may write to it, so they
/// could put files there; file system errors.
pub fn make_directory(path: &Path) -> io::Result<Writers> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    writers(path)
}

/// Can users other than the owner read the file?
pub fn is_read_by_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.mode() & GROUP_OR_OTHERS_MAY_READ != 0)
}

/// May others do anything with the file than its owner, and a group to which root has given it to read? *Errors:* it is not there, or cannot be examined.
pub fn is_open_to_others(path: &Path) -> io::Result<bool> {
    let found = std::fs::metadata(path)?;
    Ok(is_open(found.mode(), found.uid()))
}

/// The group of a file that belongs to root may read it, as in libpq's rule for `sslkey`. A credential of systemd (for
/// which the group's bits show the mask of an ACL) and a Secret of Kubernetes both have mode 0440.
fn is_open(mode: u32, uid: u32) -> bool {
    let forbidden = match uid {
        0 => GROUP_MAY_READ_ONLY,
        _ => GROUP_AND_OTHERS,
    };
    mode & forbidden != 0
}

/// Who may write to the directory. *Errors:* all users may; file system errors.
pub fn writers(path: &Path) -> io::Result<Writers> {
    let mode = std::fs::metadata(path)?.mode();
    if mode & OTHERS_MAY_WRITE != 0 {
        let mode = mode & 0o7777;
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("every user may write to it (mode {mode:04o}); run `chmod o-w` on it"),
        ));
    }
    Ok(match mode & GROUP_MAY_WRITE {
        0 => Writers::Owner,
        _ => Writers::Group,
    })
}

/// For a file that only this user may read and write.
pub fn file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[rstest]
    #[case::its_owner(0o600, 1000, false)]
    #[case::its_owner_reads(0o400, 0, false)]
    #[case::root_s_group_of_readers(0o440, 0, false)]
    #[case::its_group(0o640, 1000, true)]
    #[case::its_group_writes(0o620, 1000, true)]
    #[case::root_s_group_writes(0o660, 0, true)]
    #[case::all(0o604, 0, true)]
    fn a_secret_is_for_its_owner(#[case] mode: u32, #[case] uid: u32, #[case] expected: bool) {
        assert_eq!(is_open(mode | 0o100_000, uid), expected);
    }

    #[rstest]
    #[case(0o700, Some(Writers::Owner))]
    #[case(0o755, Some(Writers::Owner))]
    #[case(0o775, Some(Writers::Group))]
    #[case(0o770, Some(Writers::Group))]
    #[case(0o777, None)]
    #[case(0o1777, None)]
    #[case(0o702, None)]
    fn a_directory_that_everybody_may_write_to_is_refused(
        #[case] mode: u32,
        #[case] expected: Option<Writers>,
    ) {
        let dir = tempfile::tempdir().unwrap();
        set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        let found = make_directory(dir.path());
        match expected {
            Some(writers) => assert_eq!(found.unwrap(), writers),
            None => assert!(found.unwrap_err().to_string().contains("chmod o-w")),
        }
    }
}
