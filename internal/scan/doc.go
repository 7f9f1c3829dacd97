// Package scan turns a directory into a diff.Tree.
//
// It promises:
//
//   - Missing is not deleted. What cannot be read, is being written, or is of a kind
//     that no tree carries is held: it stays in the tree as it was committed, with
//     all below it, or stays absent. Only a name that the kernel says is gone is gone.
//   - Nothing outside the directory is read. All goes through descriptors, one
//     component at a time, and no symlink below the root is followed. The root itself
//     may be reached through one.
//   - The cost follows the change: only the directories named are looked at, only
//     files whose stat changed are read, and unchanged directories are the same
//     *diff.Dir as in the last result. Another process may go by what this one knows:
//     see Stamps.
//
// Caveats:
//
//   - A scan is no snapshot. Each file is read whole and stable, but two files may be
//     of different instants; the watcher and the next scan settle that.
//   - Whether a file is open for writing is asked by taking a read lease (fcntl(2),
//     F_SETLEASE) and giving it back at once. Who opens the file for writing within
//     those microseconds waits, or gets EWOULDBLOCK if it opened with O_NONBLOCK; the
//     kernel then sends this process a SIGIO, which a Go program ignores unless it
//     asked for it. Do not pass SIGIO to signal.Notify.
//   - No lease is to be had on files of other users without CAP_LEASE, and on some
//     file systems (NFS, FUSE). There a file counts as whole once it has stayed
//     unchanged for 100 ms; a writer that pauses longer is published half way.
//   - Writes through a mapping, and edits that restore both mtime and ctime by setting
//     the clock, can escape the stat cache: see Rehash.
package scan
