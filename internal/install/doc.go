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
// In tree mode a plan that changes more than one path goes another way: the whole
// target is surveyed, a tree is built beside it, in a sibling directory, of hard links
// and new files, made durable, and exchanged with the target in one system call. The
// journal is part of the tree, so there is no next. Stage, kept files and control files
// lie in the sibling.
//
// # Files
//
// Open and the target's own directories: target, lock, own, side (tree mode's sibling),
// mode, beneath (system calls below a descriptor), node (what stands at a name), errors.
//
// An apply path by path, in the order of its phases: plan, decide and forbidden, stage
// and scribe, durable, switch, sweep; keep is what is saved before it is overwritten, and recover what
// completes an apply that was interrupted.
//
// An apply of the whole tree: survey and walk, build and link, exchange, old.
//
// What others change: stamps, recall and busy tell what need not or must not be read, drift
// and verify find it, repair puts it right.
//
// What looks ahead and changes nothing: check, peek. What an operator says: accept,
// control (pause and pin), prune, forget.
//
// # Promises
//
// Nothing outside the target, and in tree mode its sibling, is written, whatever
// another user does to it meanwhile: all system calls are relative to descriptors that
// were opened beneath the target's own, without following symlinks. In it, only paths in the journal
// are ever deleted, and what is overwritten or deleted although it is not what the
// journal says is kept first under kept.
//
// # Caveats
//
// Extended attributes and ACLs of a replaced file are not carried over. A
// file that is not readable counts as one that differs. Of directories, mode and
// owner alone are corrected, in place. In tree mode the root's and all directories'
// extended attributes and ACLs go with each switch, and who writes in place into a
// live file also writes into the old tree, as long as both share it. Directories that
// the user who runs the agent may not list are in the way of a switch.
package install
