// Package install makes a directory equal to a wanted tree: it is the only code
// that writes a target.
//
// An apply goes through phases, each a function of its own: plan against the disk,
// stage all new content under .confsyncd/stage, make it durable, write the
// journal's next, switch every path by a rename, make the directories durable,
// write the journal's at, sweep. So at every instant, and after any crash or power
// cut, each managed path is exactly its old or exactly its new version in content,
// kind, mode and owner; and a next without its at is completed, without etcd, by
// the next Open.
//
// Nothing outside the target is written, whatever another user does to it
// meanwhile: all system calls are relative to descriptors that were opened beneath
// the target's own, without following symlinks. In it, only paths in the journal
// are ever deleted, and what is overwritten or deleted although it is not what the
// journal says is kept first under .confsyncd/kept.
//
// Caveats: extended attributes and ACLs of a replaced file are not carried over. A
// file that is not readable counts as one that differs. Of directories, mode and
// owner alone are corrected, in place.
package install
