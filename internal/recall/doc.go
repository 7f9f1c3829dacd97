// Package recall encodes what one process knows of the files of a tree, so that the next
// one need not read them: their stamps, by which it sees that they are as they were.
//
// It promises that bytes which are not whole, are of another boot of the machine, of
// another tree, or from a time to come, are never taken for stamps. A power cut may take
// back what was written to a file, and leave its times; so no stamp outlives a boot.
//
// Caveats: which stamps are safe to keep, and whose root they count for, is the caller's
// to say. A stamp has no device: which number a file system has may differ from one mount
// to the next.
package recall
