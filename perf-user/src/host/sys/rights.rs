//! The rights to files of another user, for a thread and a while.

use std::{io, ptr};

use super::check;

/// The calling thread reaches files as another user does, and files it makes are that user's; until this is dropped.
#[derive(Debug)]
pub struct FileRights {
    uid: u32,
    gid: u32,
    groups: Vec<libc::gid_t>,
    /// The rights are a thread's own.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl FileRights {
    /// Takes the rights of a user and a group.
    ///
    /// # Errors
    /// `EPERM` when this process may not: it needs `CAP_SETUID` and `CAP_SETGID`.
    pub fn of(uid: u32, gid: u32) -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let (own_uid, own_gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        let rights = Self { uid: own_uid, gid: own_gid, groups: groups()?, _not_send: std::marker::PhantomData };
        set_groups(&[])?;
        // Dropping `rights` takes back whatever of this was done. These calls tell nothing but the value before: with one
        // that no user has, they change nothing.
        // SAFETY: take no pointers.
        let now = unsafe {
            libc::setfsgid(gid);
            libc::setfsuid(uid);
            (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX))
        };
        if now != (uid as libc::c_int, gid as libc::c_int) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        Ok(rights)
    }
}

impl Drop for FileRights {
    fn drop(&mut self) {
        // SAFETY: take no pointers.
        unsafe {
            libc::setfsuid(self.uid);
            libc::setfsgid(self.gid);
        }
        // It could be given up, so it can be taken back.
        let _ = set_groups(&self.groups);
    }
}

/// The thread's further groups.
fn groups() -> io::Result<Vec<libc::gid_t>> {
    // SAFETY: asks for nothing but the count.
    let count = check(libc::c_long::from(unsafe { libc::getgroups(0, ptr::null_mut()) }))?;
    let mut groups = vec![0; count as usize];
    // SAFETY: the array is as long as said.
    let count = check(libc::c_long::from(unsafe { libc::getgroups(count as libc::c_int, groups.as_mut_ptr()) }))?;
    groups.truncate(count as usize);
    Ok(groups)
}

/// Sets them for this thread alone, which the C library's call of that name would do for all.
fn set_groups(groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: the array is as long as said.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    Ok(())
}
