//! Reading the marks of files in layers.

use rustix::io::Errno;

use super::store::Store;
use crate::config::XattrNamespace;
use crate::format::marks::Marks;
use crate::format::namespace::MarkNamespace;
use crate::sys::{At, Result, creds};

/// The namespace of a union which writes no marks: the one that is asked for. Else what owners of files can set counts only where the
/// process has no more rights than they.
pub fn namespace_of_reader(wanted: XattrNamespace) -> MarkNamespace {
    match wanted {
        XattrNamespace::Trusted => MarkNamespace::Trusted,
        XattrNamespace::User => MarkNamespace::User,
        XattrNamespace::Auto if creds::rules_files() && creds::in_initial_user_namespace() => {
            MarkNamespace::Trusted
        }
        XattrNamespace::Auto => MarkNamespace::User,
    }
}

/// The marks of a file: one call where there are none.
pub fn read(store: &dyn Store, namespace: MarkNamespace, at: At<'_>) -> Result<Marks> {
    let names = match store.list_xattr(at) {
        Ok(names) => names,
        Err(error) if error.errno() == Errno::OPNOTSUPP => return Ok(Marks::default()),
        Err(error) => return Err(error),
    };
    Marks::collect(namespace, &names, |name| Ok(store.get_xattr(at, name)?.unwrap_or_default()))
}
