// Package journal is the durable memory of a tree and its position: what a target
// is at and what it is becoming, or what a publisher has committed.
//
// A journal is one append-only file. It starts with a snapshot of the state;
// after it come frames that say what the tree becomes (next), that it has become
// it (at), or both in one (advance). Every frame carries a CRC-32C. A frame is
// appended and made durable before the call that wrote it returns, so that only
// the last one can be torn by a crash: a torn tail is cut off, anything else that
// does not check is damage. When the frames outweigh the snapshot, a fresh one
// takes the file's place, so that Next and At cost what changes, not what there is.
//
// Caveats: a last frame whose bytes rotted on the disk looks as a torn one does,
// and is forgotten likewise. A Journal is for one goroutine at a time, and that no
// two processes open one for writing is the business of the caller, who holds a
// lock; Read needs none.
package journal
